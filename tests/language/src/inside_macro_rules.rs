//! Blocks that a `macro_rules` macro writes, in one piece or from its arguments.

use serde::Deserialize;

#[derive(Deserialize)]
struct Chat<'a> {
    greeting: &'a str,
}

macro_rules! whole {
    () => {
        struct Whole;

        #[kengine::dispatcher]
        impl Whole {
            #[route("chat")]
            async fn chat(&self, chat: Chat<'_>) -> usize {
                chat.greeting.len()
            }
        }
    };
}

macro_rules! parts {
    ($ty:ty, $(#[$attr:meta])* $method:ident, $name:literal, $message:ty, $reply:ty, $body:expr) => {
        #[kengine::dispatcher]
        impl $ty {
            #[route($name)]
            async fn $method(&self, message: $message) -> $reply {
                let _ = message;
                $body
            }

            #[route]
            $(#[$attr])*
            async fn other(&self, _: &kengine::Connection, _: $message) {}
        }
    };
}

macro_rules! item {
    ($item:item) => {
        #[kengine::dispatcher]
        $item
    };
}

whole!();

struct Parts;

parts!(Parts, #[doc = "Other."] chat, "chat", Chat<'_>, Result<u8, kengine::Error>, Ok(3));

struct Item;

item! {
    impl Item {
        #[route]
        async fn chat(&self, message: Chat<'_>) -> usize {
            message.greeting.len()
        }
    }
}
