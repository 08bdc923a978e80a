//! A handler's argument: its type says whether it is context, the message, or a mistake.

use std::marker::PhantomData;

use serde::Deserialize;

use crate::{
    dispatch::{
        context::Context,
        from_context::{FromContext, no_message, no_request},
    },
    handles::{connection::Connection, hub::Hub},
    language::{call::Call, disconnect_reason::DisconnectReason, envelope::Envelope, error::Result},
};

/// An argument of which only the type says what it is.
///
/// The expansion makes it by `placed` and calls `argument()` on it. The first finds out whether the type is the session,
/// because that must never be decoded; see [`Apart`]. Of the second, method lookup decides in this order:
///
/// 1. by value, inherent: the type is context;
/// 2. by value: it is what the hook is told, [`Telling`]; a message, [`Decoded`]; or the session itself, [`Owned`];
/// 3. by `&`: it is something that is only lent, [`Lending`], or another reference, [`Reference`];
/// 4. by `&mut`: it is nothing of that, [`Unknown`], [`Misplaced`] or [`Foreign`].
///
/// Past [`Decoded`] the bound is on the method instead of the `impl`, so they are found and then refused, in the words
/// of the trait that is missing.
#[doc(hidden)]
#[derive(Debug)]
pub struct Argument<'a, S, T, P> {
    context: Context<'a, S>,
    place: P,
    wanted: PhantomData<fn() -> T>,
}

/// Where an argument stands.
#[doc(hidden)]
pub trait Place {
    /// What has to hold before context is made there.
    ///
    /// # Errors
    ///
    /// The request's failure.
    fn check<S>(context: Context<'_, S>) -> Result<()> {
        let _ = context;
        Ok(())
    }
}

/// A route's last argument: context or the message.
#[doc(hidden)]
#[derive(Debug)]
pub struct Last;

/// A route's argument before the last.
#[doc(hidden)]
#[derive(Debug)]
pub struct Ahead;

/// An argument of a hook, and what the hook is told: `&()` of one that is told nothing.
#[doc(hidden)]
#[derive(Debug)]
pub struct Hook<'a, W>(pub &'a W);

/// Any of them, where the session is taken by value.
#[doc(hidden)]
#[derive(Debug)]
pub struct Same<P>(P);

impl Place for Last {
    /// A route whose last argument is context has no message.
    fn check<S>(context: Context<'_, S>) -> Result<()> {
        no_message(context)
    }
}

impl Place for Ahead {}

impl<W> Place for Hook<'_, W> {}

impl<P: Place> Place for Same<P> {
    fn check<S>(context: Context<'_, S>) -> Result<()> {
        P::check(context)
    }
}

impl<'a, Player, P> Argument<'a, Player, Player, P> {
    /// An argument of the session's own type.
    pub fn placed(context: Context<'a, Player>, place: P) -> Argument<'a, Player, Player, Same<P>> {
        Argument { context, place: Same(place), wanted: PhantomData }
    }
}

/// An argument of any other type.
#[doc(hidden)]
pub trait Apart<'a, S, P> {
    fn placed(context: Context<'a, S>, place: P) -> Self;
}

impl<'a, S, T, P> Apart<'a, S, P> for Argument<'a, S, T, P> {
    fn placed(context: Context<'a, S>, place: P) -> Self {
        Self { context, place, wanted: PhantomData }
    }
}

impl<'a, S, T: FromContext<'a, S>, P: Place> Argument<'a, S, T, P> {
    /// A context argument.
    ///
    /// # Errors
    ///
    /// That of the argument, or of its place.
    pub fn argument(self) -> Result<T> {
        P::check(self.context)?;
        T::from_context(self.context)
    }
}

/// See [`Argument`].
#[doc(hidden)]
pub trait Telling<'a, W> {
    /// What the hook is told.
    ///
    /// # Errors
    ///
    /// None; the other arguments' have some.
    fn argument(self) -> Result<&'a W>;
}

impl<'a, S, W> Telling<'a, W> for Argument<'_, S, &'a W, Hook<'a, W>> {
    fn argument(self) -> Result<&'a W> {
        Ok(self.place.0)
    }
}

/// See [`Argument`].
#[doc(hidden)]
pub trait Decoded<T> {
    /// The message.
    ///
    /// # Errors
    ///
    /// `bad_request` or `invalid_message`.
    fn argument(self) -> Result<T>;
}

impl<'a, S, T: Deserialize<'a>> Decoded<T> for Argument<'a, S, T, Last> {
    fn argument(self) -> Result<T> {
        decode(self.context)
    }
}

/// See [`Argument`].
#[doc(hidden)]
pub trait Owned<'a, S, P> {
    /// The session, when the client may send it.
    ///
    /// # Errors
    ///
    /// `bad_request` or `invalid_message`.
    fn argument(self) -> Result<S>
    where
        S: Harmless<'a, P>;
}

impl<'a, Player, P> Owned<'a, Player, P> for Argument<'a, Player, Player, Same<P>> {
    fn argument(self) -> Result<Player>
    where
        Player: Harmless<'a, P>,
    {
        decode(self.context)
    }
}

/// A session that a client may send: `()`, because there is but one.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "the session is `{Self}`, and is borrowed: take `&{Self}`",
    label = "expected `&{Self}`",
    note = "by value it would be what the client sent; a message of that type is a field of a struct of its own"
)]
pub trait Harmless<'a, P>: Deserialize<'a> {}

#[diagnostic::do_not_recommend]
impl Harmless<'_, Last> for () {}

/// See [`Argument`].
#[doc(hidden)]
pub trait Lending<S, T, P> {
    /// Never called.
    ///
    /// # Errors
    ///
    /// Always.
    fn argument(&self) -> Result<T>
    where
        T: Given;
}

impl<S, T: Lent<P>, P> Lending<S, T, P> for Argument<'_, S, T, P> {
    fn argument(&self) -> Result<T>
    where
        T: Given,
    {
        Err(no_request())
    }
}

/// What a handler can only borrow there, besides the session.
#[doc(hidden)]
pub trait Lent<P> {}

impl<S, P> Lent<P> for Connection<S> {}

impl<P> Lent<P> for Hub {}

impl<P> Lent<P> for Envelope<'_> {}

impl Lent<Hook<'_, Self>> for Call {}

impl Lent<Hook<'_, Self>> for DisconnectReason {}

/// What is [`Lent`] and can be had by value all the same: nothing.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is borrowed: take `&{Self}`",
    label = "expected a reference"
)]
pub trait Given {}

/// See [`Argument`].
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

impl<S, T: ?Sized> Reference<S, T> for Argument<'_, S, &T, Last> {
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
    label = "expected `&{S}`, `&Connection<{S}>`, `&Hub` or `&Envelope<'_>`",
    note = "a message is taken by value, as the last argument; other context implements `kengine::FromContext`",
    note = "if `{Self}` is the session: a block without `#[accept]` names it, `#[kengine::dispatcher(session = {Self})]`"
)]
pub trait Is<S> {}

/// See [`Argument`].
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

impl<'a, S, T> Unknown<'a, T> for Argument<'a, S, T, Last> {
    fn argument(&mut self) -> Result<T>
    where
        T: Message<'a>,
    {
        decode(self.context)
    }
}

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

/// See [`Argument`].
#[doc(hidden)]
pub trait Misplaced<'a, S, T> {
    /// Never called.
    ///
    /// # Errors
    ///
    /// That of the argument.
    fn argument(&mut self) -> Result<T>
    where
        T: Leading<'a, S>;
}

impl<'a, S, T> Misplaced<'a, S, T> for Argument<'a, S, T, Ahead> {
    fn argument(&mut self) -> Result<T>
    where
        T: Leading<'a, S>,
    {
        T::from_context(self.context)
    }
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

/// See [`Argument`].
#[doc(hidden)]
pub trait Foreign<'a, S, T> {
    /// Never called.
    ///
    /// # Errors
    ///
    /// That of the argument.
    fn argument(&mut self) -> Result<T>
    where
        T: FromContext<'a, S>;
}

impl<'a, S, T, W> Foreign<'a, S, T> for Argument<'a, S, T, Hook<'a, W>> {
    fn argument(&mut self) -> Result<T>
    where
        T: FromContext<'a, S>,
    {
        T::from_context(self.context)
    }
}

fn decode<'a, T: Deserialize<'a>, S>(context: Context<'a, S>) -> Result<T> {
    context.envelope().ok_or_else(no_request)?.message()
}
