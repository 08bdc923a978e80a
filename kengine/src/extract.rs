//! A handler's arguments: the context ones, by trait, and the message behind them.

use std::marker::PhantomData;

use serde::Deserialize;

use crate::{Connection, Context, Envelope, Error, Handshake, Hub, Result, Session};

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
    label = "expected `&{S}`, `&Connection<{S}>` or a type that implements `kengine::FromContext`",
    note = "a route takes its message by value, as its last argument"
)]
pub trait FromContext<'a, S>: Sized {
    /// Makes the argument. It is called for each message, before the message is decoded.
    ///
    /// # Errors
    ///
    /// The request's failure: the handler is not called then.
    fn from_context(context: Context<'a, S>) -> Result<Self>;
}

/// What a handler borrows for the time of its call: the connection, the session, or the envelope.
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

/// An argument of a hook that is told something: `&W`, or context.
///
/// The expansion calls `argument()` on it: inherent for `&W`, of [`Beside`] for any other type.
#[doc(hidden)]
#[derive(Debug)]
pub struct Told<'a, S, T, W> {
    context: Context<'a, S>,
    what: &'a W,
    wanted: PhantomData<fn() -> T>,
}

/// See [`Told`].
#[doc(hidden)]
pub fn told<'a, T, S, W>(context: Context<'a, S>, what: &'a W) -> Told<'a, S, T, W> {
    Told { context, what, wanted: PhantomData }
}

impl<'a, S, W> Told<'a, S, &'a W, W> {
    /// What the hook is told.
    ///
    /// # Errors
    ///
    /// None; the other arguments' have some.
    #[expect(clippy::unnecessary_wraps, reason = "called as the other arguments' are")]
    pub fn argument(self) -> Result<&'a W> {
        Ok(self.what)
    }
}

/// See [`Told`].
#[doc(hidden)]
pub trait Beside<'a, S, T> {
    /// A context argument.
    ///
    /// # Errors
    ///
    /// That of the argument.
    fn argument(self) -> Result<T>
    where
        T: FromContext<'a, S>;
}

impl<'a, S, T, W> Beside<'a, S, T> for Told<'a, S, T, W> {
    fn argument(self) -> Result<T>
    where
        T: FromContext<'a, S>,
    {
        T::from_context(self.context)
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

/// An argument of a hook, or one by reference: it can be nothing but context.
#[doc(hidden)]
pub fn context<'a, T: FromContext<'a, S>, S>(context: Context<'a, S>) -> Result<T> {
    T::from_context(context)
}

/// A route's argument before the last.
#[doc(hidden)]
pub fn leading<'a, T: Leading<'a, S>, S>(context: Context<'a, S>) -> Result<T> {
    T::from_context(context)
}

/// [`FromContext`], with the words for a message in the wrong place.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "the message must be the last argument",
    label = "only context stands before the last argument",
    note = "`{Self}` does not implement `kengine::FromContext<'_, {S}>`"
)]
pub trait Leading<'a, S>: FromContext<'a, S> {}

#[diagnostic::do_not_recommend]
impl<'a, S, T: FromContext<'a, S>> Leading<'a, S> for T {}

/// A message type. [`Deserialize`], with our words.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a message type",
    label = "expected a type that implements `serde::Deserialize`",
    note = "add `#[derive(serde::Deserialize)]` to `{Self}`"
)]
pub trait Message<'a>: Deserialize<'a> {}

#[diagnostic::do_not_recommend]
impl<'a, T: Deserialize<'a>> Message<'a> for T {}

/// A route's last argument, of which only the type says whether it is context or the message.
///
/// The expansion calls `argument()` on it, and method lookup decides, in this order:
///
/// 1. by value, inherent: the type is context;
/// 2. by value, [`Decoded`]: the type is a message;
/// 3. by `&`, [`Reference`]: it is neither, and being a reference was meant as context;
/// 4. by `&mut`, [`Unknown`]: it is neither, and was meant as the message.
///
/// The last two hold their bound on the method instead of the `impl`, so they are found and then refused, in the
/// words of the trait that is missing.
#[doc(hidden)]
#[derive(Debug)]
pub struct Last<'a, S, T> {
    context: Context<'a, S>,
    wanted: PhantomData<fn() -> T>,
}

/// See [`Last`].
#[doc(hidden)]
pub fn last<T, S>(context: Context<'_, S>) -> Last<'_, S, T> {
    Last { context, wanted: PhantomData }
}

impl<'a, S, T: FromContext<'a, S>> Last<'a, S, T> {
    /// A context argument; the route then has no message.
    ///
    /// # Errors
    ///
    /// That of the argument, or `bad_request`.
    pub fn argument(self) -> Result<T> {
        no_message(self.context)?;
        T::from_context(self.context)
    }
}

/// The second step of [`Last`].
#[doc(hidden)]
pub trait Decoded<T> {
    /// The message.
    ///
    /// # Errors
    ///
    /// `bad_request` or `invalid_message`.
    fn argument(self) -> Result<T>;
}

impl<'a, S, T: Deserialize<'a>> Decoded<T> for Last<'a, S, T> {
    fn argument(self) -> Result<T> {
        self.context.envelope().ok_or_else(no_request)?.message()
    }
}

/// The third step of [`Last`].
#[doc(hidden)]
pub trait Reference<S, T: ?Sized> {
    /// Never called.
    ///
    /// # Errors
    ///
    /// Always.
    fn argument<'t>(&self) -> Result<&'t T>
    where
        T: Is<S>;
}

impl<S, T: ?Sized> Reference<S, T> for Last<'_, S, &T> {
    fn argument<'u>(&self) -> Result<&'u T>
    where
        T: Is<S>,
    {
        Err(no_request())
    }
}

/// The session itself; never asked for of a type that is it.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "the session is `{S}`, not `{Self}`",
    label = "expected `&{S}`, `&Connection<{S}>` or `&Envelope<'_>`",
    note = "a message is taken by value, as the last argument; other context implements `kengine::FromContext`"
)]
pub trait Is<S> {}

/// The fourth step of [`Last`].
#[doc(hidden)]
pub trait Unknown<'a, T> {
    /// Never called.
    ///
    /// # Errors
    ///
    /// None.
    fn argument(&mut self) -> Result<T>
    where
        T: Message<'a>;
}

impl<'a, S, T> Unknown<'a, T> for Last<'a, S, T> {
    fn argument(&mut self) -> Result<T>
    where
        T: Message<'a>,
    {
        self.context.envelope().ok_or_else(no_request)?.message()
    }
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

fn no_request() -> Error {
    Error::internal("a message was asked for where there is no request")
}
