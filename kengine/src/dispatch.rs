//! The trait that `#[dispatcher]` implements, and what it is given.

use std::future::Future;

use crate::{Answer, Connection, Envelope, Error, Liveness, Result, Session, Syntax};

/// One WebSocket message as it came, whole and unmasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
}

impl<'a> Frame<'a> {
    /// The bytes of either kind.
    pub fn as_bytes(self) -> &'a [u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The text of either kind; a binary message carries the same JSON.
    fn as_text(self) -> Result<&'a str> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Binary(bytes) => std::str::from_utf8(bytes)
                .map_err(|error| Error::new("bad_request", format!("not JSON: {error}"))),
        }
    }
}

/// What a dispatcher says of one of its routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Route {
    /// What a client writes under the route key.
    pub name: &'static str,
}

impl Route {
    /// A route of this name.
    pub const fn new(name: &'static str) -> Self {
        Self { name }
    }
}

/// What a handler may look at besides its message.
#[derive(Debug)]
pub struct Context<'a, S> {
    connection: &'a Connection<S>,
    envelope: Option<&'a Envelope<'a>>,
}

impl<S> Clone for Context<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Context<'_, S> {}

impl<'a, S> Context<'a, S> {
    /// The connection that the message came from.
    pub fn connection(self) -> &'a Connection<S> {
        self.connection
    }

    /// The request as it came; `None` in a hook that no request caused.
    pub fn envelope(self) -> Option<&'a Envelope<'a>> {
        self.envelope
    }
}

/// Takes the messages of every connection of an endpoint: what `#[dispatcher]` makes of an `impl` block.
///
/// By hand it is implemented for what is not JSON with a route key, by [`message`](Self::message) alone:
///
/// ```
/// use kengine::{Answer, Connection, Dispatcher, Frame};
///
/// struct Echo;
///
/// impl Dispatcher for Echo {
///     type Session = ();
///
///     async fn message(&self, _: &Connection, frame: Frame<'_>, answer: &mut Answer) {
///         match frame {
///             Frame::Text(text) => answer.text(text),
///             Frame::Binary(bytes) => answer.binary(bytes),
///         }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a dispatcher",
    label = "expected a type whose `impl` block is marked `#[kengine::dispatcher]`",
    note = "put `#[kengine::dispatcher]` on `impl {Self} {{ … }}`"
)]
pub trait Dispatcher: Send + Sync + 'static {
    /// What is known of a connection's player.
    type Session: Session;

    /// Which members of a message carry what.
    const SYNTAX: Syntax = Syntax::DEFAULT;

    /// The routes, in the order in which they are written.
    const ROUTES: &'static [Route] = &[];

    /// Takes one message; whatever is written to `answer` is sent when the future ends.
    ///
    /// Unless overridden, it answers heartbeats, takes the envelope apart and calls [`dispatch`](Self::dispatch).
    fn message<'a>(
        &'a self,
        connection: &'a Connection<Self::Session>,
        frame: Frame<'a>,
        answer: &'a mut Answer,
    ) -> impl Future<Output = ()> + Send {
        async move {
            if connection.is_heartbeat(frame) {
                return match self.heartbeat(Context { connection, envelope: None }).await {
                    Ok(liveness) => liveness.apply(connection, answer),
                    Err(error) => answer.error(&error),
                };
            }
            let parsed = match frame.as_text() {
                Ok(text) => Envelope::parse(text, Self::SYNTAX),
                Err(error) => return answer.error(&error),
            };
            let envelope = match parsed {
                Ok(envelope) => envelope,
                Err(rejected) => {
                    answer.correlate(rejected.id);
                    return answer.error(&rejected.error);
                }
            };
            answer.correlate(envelope.id());
            let context = Context { connection, envelope: Some(&envelope) };
            if let Err(error) = self.dispatch(context, answer).await {
                // The payload may not have been decoded yet: only now is it known whether it is JSON at all.
                match envelope.check() {
                    Ok(()) => answer.error(&error),
                    Err(malformed) => {
                        answer.correlate(None);
                        answer.error(&malformed);
                    }
                }
            }
        }
    }

    /// Takes one request: finds its route and writes the handler's reply to `answer`.
    ///
    /// # Errors
    ///
    /// The request's own failure, which is written by the caller.
    fn dispatch<'a>(
        &'a self,
        context: Context<'a, Self::Session>,
        answer: &'a mut Answer,
    ) -> impl Future<Output = Result<()>> + Send {
        let _ = answer;
        std::future::ready(Err(unknown_method(context)))
    }

    /// Says what to do about a heartbeat.
    ///
    /// # Errors
    ///
    /// That of an argument of the hook which cannot be had; the client gets it as an error reply.
    fn heartbeat<'a>(
        &'a self,
        context: Context<'a, Self::Session>,
    ) -> impl Future<Output = Result<Liveness>> + Send {
        let _ = context;
        std::future::ready(Ok(Liveness::Alive))
    }
}

/// The error of a request that no route takes.
pub(crate) fn unknown_method<S>(context: Context<'_, S>) -> Error {
    context.envelope.map_or_else(
        || Error::new("unknown_method", "there is no request to route"),
        Envelope::unknown_method,
    )
}
