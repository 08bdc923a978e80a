//! The trait that `#[dispatcher]` implements.

use std::future::{Future, ready};

use crate::dispatch::context::Context;
use crate::dispatch::progress::Progress;
use crate::http::{Handshake, Refusal};
use crate::protocol::{Answer, Call, DisconnectReason, Envelope, Error, Liveness, Result, Route, Session, Syntax};
use crate::websocket::Message;

/// Handles the messages of every connection of an endpoint. `#[dispatcher]` implements it for the type of an `impl`
/// block.
///
/// For messages that are not JSON with a route key, implement it by hand. Only [`message`](Self::message) is needed:
///
/// ```
/// use kengine::{
///     Context, Dispatcher,
///     wire::{Answer, Message, Route},
/// };
///
/// struct Echo;
///
/// impl Dispatcher for Echo {
///     type Session = ();
///     const ROUTES: &'static [Route] = &[Route::new("text"), Route::new("binary")];
///
///     async fn message(&self, context: Context<'_, ()>, message: Message<'_>, answer: &mut Answer) {
///         match message {
///             Message::Text(text) => {
///                 context.set_route(0);
///                 answer.text(text);
///             }
///             Message::Binary(bytes) => {
///                 context.set_route(1);
///                 answer.binary(bytes);
///             }
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
    /// What is known about the player of a connection.
    type Session: Session;

    /// Which members of a message hold the route key and the payload.
    const SYNTAX: Syntax = Syntax::DEFAULT;

    /// The routes, in source order.
    const ROUTES: &'static [Route] = &[];

    /// Whether [`dispatch`](Self::dispatch) reads the rest of a request when it decodes the payload, and gives the
    /// answer the id that follows the payload. The expansion of `#[dispatcher]` does.
    #[doc(hidden)]
    const READS_LATE: bool = false;

    /// Which hooks this dispatcher has. A composed dispatcher delegates each hook to the part that has it.
    const HOOKS: Hooks = Hooks::NONE;

    /// Decides whether a client may connect, and creates the session. Called before the request is answered with `101`.
    ///
    /// By default the session is [`Session::anonymous`].
    ///
    /// # Errors
    ///
    /// The refusal that answers the request.
    fn accept<'a>(&'a self, handshake: &'a Handshake) -> impl Future<Output = Result<Self::Session, Refusal>> + Send {
        let _ = handshake;
        ready(anonymous())
    }

    /// Called once per connection, before its first message.
    ///
    /// # Errors
    ///
    /// The connection cannot be served. It is closed with 1011.
    fn open<'a>(&'a self, context: Context<'a, Self::Session>) -> impl Future<Output = Result<()>> + Send {
        let _ = context;
        ready(Ok(()))
    }

    /// Called when the connection was cut and the session waits for its player to
    /// [resume](crate::Server::resume_within) it.
    ///
    /// # Errors
    ///
    /// The error goes to `tracing`, since the client is away.
    fn suspend<'a>(&'a self, context: Context<'a, Self::Session>) -> impl Future<Output = Result<()>> + Send {
        let _ = context;
        ready(Ok(()))
    }

    /// Called when the player has [resumed](crate::Server::resume_within) the session, once for each
    /// [`suspend`](Self::suspend) that was not followed by [`close`](Self::close), and before any further message is
    /// handled.
    ///
    /// # Errors
    ///
    /// The error goes to `tracing`.
    fn resume<'a>(&'a self, context: Context<'a, Self::Session>) -> impl Future<Output = Result<()>> + Send {
        let _ = context;
        ready(Ok(()))
    }

    /// Called once per connection for which [`open`](Self::open) was called, when the connection has ended. Its socket
    /// may still be open for the close handshake.
    ///
    /// # Errors
    ///
    /// The error goes to `tracing`, since nothing can be sent to the client any more.
    fn close<'a>(
        &'a self,
        context: Context<'a, Self::Session>,
        reason: &'a DisconnectReason,
    ) -> impl Future<Output = Result<()>> + Send {
        let _ = (context, reason);
        ready(Ok(()))
    }

    /// Handles one message. What it writes to `answer` is sent when the future ends.
    ///
    /// By default it answers heartbeats, parses the envelope, and calls [`dispatch`](Self::dispatch), or
    /// [`fallback`](Self::fallback) if no route has that name.
    fn message<'a>(
        &'a self,
        context: Context<'a, Self::Session>,
        message: Message<'a>,
        answer: &'a mut Answer,
    ) -> impl Future<Output = ()> + Send {
        async move {
            if message.as_bytes() == heartbeat_request(context) {
                return match self.heartbeat(context).await {
                    Ok(liveness) => answer_heartbeat(context, liveness, answer),
                    Err(error) => answer.error(&error),
                };
            }
            let Some(envelope) = parse::<Self>(message, answer) else { return };
            let context = context.with_envelope(&envelope);
            let handled = match self.dispatch(context, answer).await {
                Ok(true) => Ok(()),
                Ok(false) => self.fallback(context, answer).await,
                Err(error) => Err(error),
            };
            if let Err(error) = handled {
                answer_failure(context, &envelope, &error, answer);
            }
        }
    }

    /// Answers a message that is not handled, because the client exceeds a
    /// [limit per second](crate::Server::max_messages_per_second). What it writes to `answer` is sent. It must be
    /// quick.
    ///
    /// By default it writes the error `rate_limited`, with the id if the message is JSON with an id. Without an id it
    /// writes the error at most once a second.
    fn refuse(&self, context: Context<'_, Self::Session>, message: Message<'_>, error: &Error, answer: &mut Answer) {
        let id = request_id(message, Self::SYNTAX);
        answer.set_id(id);
        if id.is_some() || context.connection().may_tell_limit(None) {
            answer.error(error);
        }
    }

    /// Handles one request: finds its route and writes the handler's reply to `answer`. Returns `false` if no route has
    /// that name.
    ///
    /// # Errors
    ///
    /// Why the request failed. The caller writes it to `answer`.
    fn dispatch<'a>(
        &'a self,
        context: Context<'a, Self::Session>,
        answer: &'a mut Answer,
    ) -> impl Future<Output = Result<bool>> + Send {
        let _ = (context, answer);
        ready(Ok(false))
    }

    /// Called before the handler of a route.
    ///
    /// # Errors
    ///
    /// Why the request is refused. The handler is not called.
    fn before<'a>(
        &'a self,
        context: Context<'a, Self::Session>,
        call: &'a Call,
    ) -> impl Future<Output = Result<()>> + Send {
        let _ = (context, call);
        ready(Ok(()))
    }

    /// Handles a request that no route takes.
    ///
    /// # Errors
    ///
    /// Why the request failed. The caller writes it to `answer`. By default it is `unknown_method`.
    fn fallback<'a>(
        &'a self,
        context: Context<'a, Self::Session>,
        answer: &'a mut Answer,
    ) -> impl Future<Output = Result<()>> + Send {
        let _ = answer;
        ready(Err(context.unknown_method()))
    }

    /// Decides how to react to a heartbeat.
    ///
    /// # Errors
    ///
    /// An argument of the hook is not available. The client gets the error as a reply.
    fn heartbeat<'a>(&'a self, context: Context<'a, Self::Session>) -> impl Future<Output = Result<Liveness>> + Send {
        let _ = context;
        ready(Ok(Liveness::Alive))
    }
}

/// The hooks that an endpoint can have only once, and which of them a dispatcher has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each flag is one independent hook")]
#[non_exhaustive]
pub struct Hooks {
    /// [`Dispatcher::accept`].
    pub accept: bool,
    /// [`Dispatcher::open`].
    pub open: bool,
    /// [`Dispatcher::suspend`].
    pub suspend: bool,
    /// [`Dispatcher::resume`].
    pub resume: bool,
    /// [`Dispatcher::close`].
    pub close: bool,
    /// [`Dispatcher::heartbeat`].
    pub heartbeat: bool,
    /// [`Dispatcher::fallback`].
    pub fallback: bool,
}

impl Hooks {
    /// No hooks.
    pub const NONE: Self = Self {
        accept: false,
        open: false,
        suspend: false,
        resume: false,
        close: false,
        heartbeat: false,
        fallback: false,
    };
}

/// Returns the session of a connection to a dispatcher without `#[accept]`.
fn anonymous<S: Session>() -> Result<S, Refusal> {
    let none = || Refusal::internal("the dispatcher has no `#[accept]`, so no connection has a session");
    S::anonymous().ok_or_else(none)
}

fn heartbeat_request<S>(context: Context<'_, S>) -> &[u8] {
    context.connection().node().limits.heartbeat.request.as_bytes()
}

fn answer_heartbeat<S>(context: Context<'_, S>, liveness: Liveness, answer: &mut Answer) {
    match liveness {
        Liveness::Alive => answer.text(&context.connection().node().limits.heartbeat.answer),
        Liveness::Answer(text) => answer.text(&text),
        Liveness::Silent => {}
        Liveness::Close(close) => context.connection().close(close),
    }
}

/// Answers a request with an error. A request without an id is told its route, and `rate_limited` at most once a second
/// for each route: it knows the first time that it must slow down.
#[cold]
fn answer_failure<S>(context: Context<'_, S>, envelope: &Envelope<'_>, error: &Error, answer: &mut Answer) {
    // The payload may not have been decoded yet, so the message may not even be JSON.
    let id = match envelope.check() {
        Ok(id) => id,
        Err(rejected) => {
            answer.set_id(rejected.id);
            return answer.error(&rejected.error);
        }
    };
    answer.set_id(id);
    let route = context.progress().and_then(Progress::route);
    if id.is_none() && error.code() == "rate_limited" && !context.connection().may_tell_limit(route) {
        return answer.fail_untold();
    }
    answer.error_of(error, route.map(|_| envelope.route()));
}

/// Parses the envelope of a request, and gives the answer its id. Answers a message that is not a request.
fn parse<'a, D: Dispatcher + ?Sized>(message: Message<'a>, answer: &mut Answer) -> Option<Envelope<'a>> {
    let text = as_text(message).map_err(|error| answer.error(&error)).ok()?;
    let parsed = if D::READS_LATE { Envelope::parse_start(text, D::SYNTAX) } else { Envelope::parse(text, D::SYNTAX) };
    match parsed {
        Ok(envelope) => {
            answer.set_id(envelope.early_id());
            Some(envelope)
        }
        Err(rejected) => {
            answer.set_id(rejected.id);
            answer.error(&rejected.error);
            None
        }
    }
}

/// Returns the id of a request, wherever it is in the message. `None` if the message is no request with an id.
pub(crate) fn request_id(message: Message<'_>, syntax: Syntax) -> Option<&str> {
    match Envelope::parse(as_text(message).ok()?, syntax) {
        Ok(envelope) => envelope.check().unwrap_or_else(|rejected| rejected.id),
        Err(rejected) => rejected.id,
    }
}

/// Returns the text of either kind of message, since a binary message holds the same JSON.
fn as_text(message: Message<'_>) -> Result<&str> {
    match message {
        Message::Text(text) => Ok(text),
        Message::Binary(bytes) => {
            std::str::from_utf8(bytes).map_err(|error| Error::new("bad_request", format!("not JSON: {error}")))
        }
    }
}
