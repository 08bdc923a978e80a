//! The trait that `#[dispatcher]` implements, and what it is given.

use std::future::Future;

use crate::{
    Answer, Call, Connection, DisconnectReason, Envelope, Error, Handshake, Liveness, Refusal, Result, Route,
    Session, Syntax, composition::anonymous,
};

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

/// What a handler may look at besides its message.
#[derive(Debug)]
pub struct Context<'a, S> {
    connection: &'a Connection<S>,
    envelope: Option<&'a Envelope<'a>>,
    /// Where the dispatcher's routes begin in the endpoint's table.
    offset: usize,
}

impl<S> Clone for Context<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Context<'_, S> {}

impl<'a, S> Context<'a, S> {
    /// For a hook that no request caused.
    pub(crate) fn new(connection: &'a Connection<S>) -> Self {
        Self { connection, envelope: None, offset: 0 }
    }

    /// The connection that the message came from.
    pub fn connection(self) -> &'a Connection<S> {
        self.connection
    }

    /// The request as it came; `None` in a hook that no request caused.
    pub fn envelope(self) -> Option<&'a Envelope<'a>> {
        self.envelope
    }

    /// The session of the player whose message it is.
    pub fn session(self) -> &'a S {
        self.connection.session()
    }

    pub(crate) fn offset(self) -> usize {
        self.offset
    }

    /// For a dispatcher whose routes begin so many further down in the endpoint's table.
    pub(crate) fn shifted(self, routes: usize) -> Self {
        Self { offset: self.offset + routes, ..self }
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

    /// Which hooks there are: a composed dispatcher passes each on to the one part that has it.
    const HOOKS: Hooks = Hooks::NONE;

    /// Decides who may connect: makes the session, before the request is answered with `101`.
    ///
    /// Unless overridden, everyone may whose session can be [`anonymous`](Session::anonymous), as `()` is.
    ///
    /// # Errors
    ///
    /// The answer to the request, instead of a connection.
    fn accept<'a>(
        &'a self,
        handshake: &'a Handshake,
    ) -> impl Future<Output = Result<Self::Session, Refusal>> + Send {
        let _ = handshake;
        std::future::ready(anonymous())
    }

    /// Greets a connection, before its first message.
    ///
    /// # Errors
    ///
    /// Why the connection cannot be served: it is closed with 1011.
    fn open<'a>(&'a self, context: Context<'a, Self::Session>) -> impl Future<Output = Result<()>> + Send {
        let _ = context;
        std::future::ready(Ok(()))
    }

    /// Sees a connection off that [`open`](Self::open) has greeted: once, whatever ended it.
    ///
    /// # Errors
    ///
    /// Nobody is left to be told: it goes to `tracing`.
    fn close<'a>(
        &'a self,
        context: Context<'a, Self::Session>,
        reason: &'a DisconnectReason,
    ) -> impl Future<Output = Result<()>> + Send {
        let _ = (context, reason);
        std::future::ready(Ok(()))
    }

    /// Takes one message; whatever is written to `answer` is sent when the future ends.
    ///
    /// Unless overridden, it answers heartbeats, takes the envelope apart and calls [`dispatch`](Self::dispatch),
    /// or, if no route has that name, [`fallback`](Self::fallback).
    fn message<'a>(
        &'a self,
        connection: &'a Connection<Self::Session>,
        frame: Frame<'a>,
        answer: &'a mut Answer,
    ) -> impl Future<Output = ()> + Send {
        async move {
            if connection.is_heartbeat(frame) {
                return match self.heartbeat(Context::new(connection)).await {
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
            let context = Context { envelope: Some(&envelope), ..Context::new(connection) };
            let handled = match self.dispatch(context, answer).await {
                Ok(true) => Ok(()),
                Ok(false) => self.fallback(context, answer).await,
                Err(error) => Err(error),
            };
            if let Err(error) = handled {
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

    /// Takes one request: finds its route and writes the handler's reply to `answer`. `false` when none of the
    /// routes has that name.
    ///
    /// # Errors
    ///
    /// The request's own failure, which is written by the caller.
    fn dispatch<'a>(
        &'a self,
        context: Context<'a, Self::Session>,
        answer: &'a mut Answer,
    ) -> impl Future<Output = Result<bool>> + Send {
        let _ = (context, answer);
        std::future::ready(Ok(false))
    }

    /// Looks at a call before the handler of its route does.
    ///
    /// # Errors
    ///
    /// The request's failure: the handler is not called.
    fn before<'a>(
        &'a self,
        context: Context<'a, Self::Session>,
        call: &'a Call,
    ) -> impl Future<Output = Result<()>> + Send {
        let _ = (context, call);
        std::future::ready(Ok(()))
    }

    /// Takes a request whose name no route has.
    ///
    /// # Errors
    ///
    /// The request's own failure, which is written by the caller; `unknown_method` unless overridden.
    fn fallback<'a>(
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

/// Which hooks a dispatcher has, of those that an endpoint can have but one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent, and each is one hook")]
pub struct Hooks {
    /// [`Dispatcher::accept`].
    pub accept: bool,
    /// [`Dispatcher::open`].
    pub open: bool,
    /// [`Dispatcher::close`].
    pub close: bool,
    /// [`Dispatcher::heartbeat`].
    pub heartbeat: bool,
    /// [`Dispatcher::fallback`].
    pub fallback: bool,
}

impl Hooks {
    /// None of them.
    pub const NONE: Self =
        Self { accept: false, open: false, close: false, heartbeat: false, fallback: false };
}

/// The error of a request that no route takes.
pub(crate) fn unknown_method<S>(context: Context<'_, S>) -> Error {
    context.envelope.map_or_else(
        || Error::new("unknown_method", "there is no request to route"),
        Envelope::unknown_method,
    )
}
