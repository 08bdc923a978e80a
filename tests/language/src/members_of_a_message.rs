//! `key`, `payload` and `flat`.

use kengine::{Dispatcher, wire::Syntax};

macro_rules! dispatchers {
    ($($name:ident($($options:tt)*) => $syntax:expr;)*) => {
        $(
            struct $name;

            #[kengine::dispatcher($($options)*)]
            impl $name {
                #[route]
                async fn chat(&self, _: u8) {}
            }
        )*

        fn main() {
            $(assert_eq!($name::SYNTAX, $syntax, stringify!($name));)*
        }
    };
}

dispatchers! {
    Default() => Syntax::new("method", "message");
    Written(key = "method", payload = "message") => Syntax::DEFAULT;
    Key(key = "type") => Syntax::new("type", "message");
    Payload(payload = "data",) => Syntax::new("method", "data");
    Both(key = "t", payload = "d") => Syntax::new("t", "d");
    Swapped(key = "message", payload = "method") => Syntax::new("message", "method");
    Flat(flat) => Syntax::flat("method");
    FlatKey(key = "message", flat) => Syntax::flat("message");
}
