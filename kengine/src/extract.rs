//! A handler's arguments: the context ones, by trait, and the message behind them.

use std::marker::PhantomData;

use serde::Deserialize;

use crate::{Connection, Context, Envelope, Error, Result};

/// A type that a handler may take before its message, or instead of one.
///
/// `&Connection` and `&Envelope<'_>` are such types; a type of your own becomes one here, for instance to keep a
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
    label = "expected `&Connection`, `&Envelope<'_>` or a type that implements `kengine::FromContext`",
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

impl<'a, S> FromContext<'a, S> for &'a Connection<S> {
    fn from_context(context: Context<'a, S>) -> Result<Self> {
        Ok(context.connection())
    }
}

impl<'a, S> FromContext<'a, S> for &'a Envelope<'a> {
    fn from_context(context: Context<'a, S>) -> Result<Self> {
        context.envelope().ok_or_else(|| Error::internal("no request caused this hook: it has no envelope"))
    }
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
pub trait Reference<'a, S, T> {
    /// Never called.
    ///
    /// # Errors
    ///
    /// None.
    fn argument(&self) -> Result<T>
    where
        T: FromContext<'a, S>;
}

impl<'a, 't, S, T: ?Sized> Reference<'a, S, &'t T> for Last<'a, S, &'t T> {
    fn argument(&self) -> Result<&'t T>
    where
        &'t T: FromContext<'a, S>,
    {
        <&T>::from_context(self.context)
    }
}

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
