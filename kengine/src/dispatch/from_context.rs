//! The trait of the arguments that a handler can take besides its message.

use crate::dispatch::context::Context;
use crate::handles::{Connection, Hub};
use crate::protocol::{Envelope, Error, Result, Session};

/// A type that a handler can take before its message, or instead of one.
///
/// The session, [`Connection`], [`Hub`] and [`Envelope`] are such types, taken by reference. Implement the trait for a
/// type of your own, for example to check something once for all routes that need it:
///
/// ```
/// use kengine::{Context, Error, FromContext};
///
/// /// The client runs on this machine.
/// struct Local;
///
/// /// The client runs on another machine.
/// struct NotLocal;
///
/// impl From<NotLocal> for Error {
///     fn from(_: NotLocal) -> Self {
///         Self::new("unauthorized", "only from this machine")
///     }
/// }
///
/// impl<S> FromContext<'_, S> for Local {
///     type Error = NotLocal;
///
///     fn from_context(context: Context<'_, S>) -> Result<Self, NotLocal> {
///         match context.connection().peer() {
///             Some(peer) if peer.ip().is_loopback() => Ok(Self),
///             _ => Err(NotLocal),
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
/// An argument of such a type is never decoded from the message, even if the type implements `Deserialize`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a context argument of a dispatcher whose session is `{S}`",
    label = "expected `&{S}`, `&Connection<{S}>`, `&Hub`, `&Envelope<'_>` or a type that implements `kengine::FromContext`",
    note = "context is taken by reference; a route takes its message by value, as its last argument",
    note = "the session is what `#[accept]` returns; a block without it names the session: `#[kengine::dispatcher(session = …)]`"
)]
pub trait FromContext<'a, S>: Sized {
    /// Why the argument is not available. It becomes the error reply; use [`Error`] itself if you need no other type.
    type Error: Into<Error>;

    /// Creates the argument. Called before each call of a method that takes it; for a route, this is before the message
    /// is decoded.
    ///
    /// # Errors
    ///
    /// The argument is not available. The handler is not called.
    fn from_context(context: Context<'a, S>) -> Result<Self, Self::Error>;

    #[doc(hidden)]
    fn take(context: Context<'a, S>) -> Result<Self> {
        Self::from_context(context).map_err(Into::into)
    }
}

/// A type that handlers take by reference: the connection, the session, the hub, or the envelope.
#[doc(hidden)]
pub trait Borrowed<'a, S> {
    /// Returns the reference.
    ///
    /// # Errors
    ///
    /// There is no envelope, because the hook was not called for a request.
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

// `S` is not bounded by `Session` here, because a type that is not a session is already an error elsewhere. This does
// not overlap with the implementations for `Hub` and `Envelope`: those require that `S` is a session, and neither type
// is one.
impl<'a, S> Borrowed<'a, S> for S {
    fn borrowed(context: Context<'a, S>) -> Result<&'a Self> {
        Ok(context.session())
    }
}

impl<'a, S: Session> Borrowed<'a, S> for Envelope<'a> {
    fn borrowed(context: Context<'a, S>) -> Result<&'a Self> {
        context
            .envelope()
            .ok_or_else(|| Error::internal("this hook was not called for a request, so it has no envelope"))
    }
}

#[diagnostic::do_not_recommend]
impl<'a, S, T: Borrowed<'a, S>> FromContext<'a, S> for &'a T {
    type Error = Error;

    fn from_context(context: Context<'a, S>) -> Result<Self> {
        T::borrowed(context)
    }
}
