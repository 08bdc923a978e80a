//! Context before the message, and context without a message.

use kengine::{Connection, Context, Error, FromContext, Result, wire::Envelope};
use serde::Deserialize;

#[derive(Deserialize)]
struct Chat {
    greeting: String,
}

/// Context, although it could be decoded.
#[derive(Deserialize)]
struct Local(u8);

impl<S> FromContext<'_, S> for Local {
    type Error = kengine::Error;

    fn from_context(context: Context<'_, S>) -> Result<Self> {
        match context.connection().peer() {
            Some(peer) if peer.ip().is_loopback() => Ok(Self(0)),
            _ => Err(Error::new("unauthorized", "only from this machine")),
        }
    }
}

/// Borrows from the message.
struct Method<'a>(&'a str);

impl<'a> FromContext<'a, ()> for Method<'a> {
    type Error = kengine::Error;

    fn from_context(context: Context<'a, ()>) -> Result<Self> {
        Ok(Self(context.envelope().map_or("", Envelope::route)))
    }
}

struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn nothing(&self) {}

    #[route]
    async fn connection(&self, connection: &Connection) -> String {
        connection.id().to_string()
    }

    #[route]
    async fn explicit(&self, connection: &Connection<()>, _: Chat) -> String {
        connection.id().to_string()
    }

    #[route]
    async fn envelope(&self, envelope: &Envelope<'_>) -> usize {
        envelope.size()
    }

    #[route]
    async fn own(&self, local: Local) -> u8 {
        local.0
    }

    #[route]
    async fn own_borrowed(&self, method: Method<'_>, chat: Chat) -> usize {
        method.0.len() + chat.greeting.len()
    }

    #[route]
    async fn all(
        &self,
        _: &Connection,
        _: &Envelope<'_>,
        _: Local,
        Method(method): Method<'_>,
        Chat { greeting }: Chat,
    ) -> bool {
        greeting == method
    }

    #[route]
    async fn receiver(self: &Self, _: Chat) {}
}
