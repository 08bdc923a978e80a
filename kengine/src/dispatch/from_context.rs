//! What a handler may take besides its message: context, by trait.

use crate::{
    dispatch::context::Context,
    handles::{connection::Connection, hub::Hub},
    http::handshake::Handshake,
    language::{
        envelope::Envelope,
        error::{Error, Result},
        session::Session,
    },
};

/// A type that a handler may take before its message, or instead of one.
///
/// `&Connection`, `&Hub` and `&Envelope<'_>` are such types; a type of your own becomes one here, for instance to keep a
/// check out of every route that needs it:
///
/// ```
/// use kengine::{Context, Error, FromContext, Result};
///
/// /// Comes from this machine.
/// struct Local;
///
/// impl<S> FromContext<'_, S> for Local {
///     fn from_context(context: Context<'_, S>) -> Result<Self> {
///         match context.connection().peer() {
///             Some(peer) if peer.ip().is_loopback() => Ok(Self),
///             _ => Err(Error::new("unauthorized", "only from this machine")),
///         }
///     }
/// }
///
/// struct Game;
///
/// #[kengine::dispatcher]
/// impl Game {
///     #[route]
///     async fn shutdown(&self, _: Local) {}
/// }
/// ```
///
/// Such a type is context wherever it stands, also when it could be decoded.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a context argument of a dispatcher whose session is `{S}`",
    label = "expected `&{S}`, `&Connection<{S}>`, `&Hub`, `&Envelope<'_>` or a type that implements `kengine::FromContext`",
    note = "a route takes its message by value, as its last argument",
    note = "if it is the session: a block without `#[accept]` names it, `#[kengine::dispatcher(session = …)]`"
)]
pub trait FromContext<'a, S>: Sized {
    /// Makes the argument. It is called for each message, before the message is decoded.
    ///
    /// # Errors
    ///
    /// The request's failure: the handler is not called then.
    fn from_context(context: Context<'a, S>) -> Result<Self>;
}

/// What a handler borrows for the time of its call: the connection, the session, the hub, or the envelope.
#[doc(hidden)]
pub trait Borrowed<'a, S> {
    /// The thing itself.
    ///
    /// # Errors
    ///
    /// When there is none: no request caused this hook.
    fn borrowed(context: Context<'a, S>) -> Result<&'a Self>;
}

impl<'a, S> Borrowed<'a, S> for Connection<S> {
    fn borrowed(context: Context<'a, S>) -> Result<&'a Self> {
        Ok(context.connection())
    }
}

impl<'a, S: Session> Borrowed<'a, S> for Hub {
    fn borrowed(context: Context<'a, S>) -> Result<&'a Self> {
        Ok(context.connection().hub())
    }
}

// Whether it is a `Session` or not: that is one error already, elsewhere. The bound that keeps the implementations
// apart is on the others, which are no sessions.
impl<'a, S> Borrowed<'a, S> for S {
    fn borrowed(context: Context<'a, S>) -> Result<&'a Self> {
        Ok(context.session())
    }
}

impl<'a, S: Session> Borrowed<'a, S> for Envelope<'a> {
    fn borrowed(context: Context<'a, S>) -> Result<&'a Self> {
        context.envelope().ok_or_else(|| Error::internal("no request caused this hook: it has no envelope"))
    }
}

#[diagnostic::do_not_recommend]
impl<'a, S, T: Borrowed<'a, S>> FromContext<'a, S> for &'a T {
    fn from_context(context: Context<'a, S>) -> Result<Self> {
        T::borrowed(context)
    }
}

/// An argument of `#[accept]`.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an argument of `#[accept]`",
    label = "expected `&kengine::Handshake`",
    note = "there is no connection and no session yet"
)]
pub trait FromHandshake<'a> {
    fn from_handshake(handshake: &'a Handshake) -> Self;
}

impl<'a> FromHandshake<'a> for &'a Handshake {
    fn from_handshake(handshake: &'a Handshake) -> Self {
        handshake
    }
}

/// An argument of `#[accept]`.
#[doc(hidden)]
pub fn handshake<'a, T: FromHandshake<'a>>(handshake: &'a Handshake) -> T {
    T::from_handshake(handshake)
}

/// An argument by reference, unless it is a route's last or a hook is told something: it can be nothing but context.
#[doc(hidden)]
pub fn context<'a, T: FromContext<'a, S>, S>(context: Context<'a, S>) -> Result<T> {
    T::from_context(context)
}

/// What a request's route key says.
#[doc(hidden)]
pub fn route<S>(context: Context<'_, S>) -> &str {
    context.envelope().map_or("", Envelope::route)
}

/// Checks the payload of a request that no message is decoded from: it must be JSON all the same.
#[doc(hidden)]
pub fn no_message<S>(context: Context<'_, S>) -> Result<()> {
    context.envelope().map_or(Ok(()), Envelope::check)
}

pub(crate) fn no_request() -> Error {
    Error::internal("a message was asked for where there is no request")
}
