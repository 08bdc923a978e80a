//! Messages that borrow from the frame, and handlers with lifetime parameters.

use std::borrow::Cow;

use kengine::{Connection, Context, FromContext};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Chat<'a> {
    #[serde(borrow)]
    greeting: Cow<'a, str>,
    from: &'a str,
}

#[derive(Serialize)]
struct Echo<'a> {
    greeting: &'a str,
}

struct Game {
    motd: String,
}

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn chat(&self, chat: Chat<'_>) -> usize {
        chat.greeting.len() + chat.from.len()
    }

    #[route]
    async fn text(&self, text: &str) -> usize {
        text.len()
    }

    #[route]
    async fn raw(&self, Chat { greeting, .. }: Chat<'_>) -> String {
        greeting.into_owned()
    }

    #[route]
    async fn echo<'a>(&self, _: &'a Connection, chat: Chat<'a>) -> Echo<'a> {
        Echo { greeting: chat.from }
    }

    #[route]
    async fn motd(&self) -> &str {
        &self.motd
    }

    #[route]
    async fn parts<'m>(&'m self, parts: (u8, &'m str, [Cow<'m, str>; 2])) -> &'m str {
        parts.1
    }

    #[route]
    async fn declared_by_the_type(&self, _: Callback, _: u8) {}

    #[route]
    async fn declared_by_the_type_in_full(&self, _: Own<for<'a> fn(&'a str) -> &'a str>) {}
}

type Callback = Own<for<'a> fn(&'a str) -> &'a str>;

struct Own<T>(std::marker::PhantomData<T>);

impl<T, S> FromContext<'_, S> for Own<T> {
    type Error = kengine::Error;

    fn from_context(_: Context<'_, S>) -> kengine::Result<Self> {
        Ok(Self(std::marker::PhantomData))
    }
}
