//! How the arguments of a handler are made from the context or the message.
//!
//! The expansion makes each argument with a trait function that it calls on the argument's own type, as in
//! `<&Player as FromContext<'_, Player>>::take(context)`. If the type is wrong, rustc reports the error at that type,
//! with the message of the trait, and mentions nothing else of kengine.

use std::marker::PhantomData;

use serde::Deserialize;

use crate::dispatch::context::Context;
use crate::dispatch::expansion::request::no_message;
use crate::dispatch::from_context::{Borrowed, FromContext};
use crate::http::Handshake;
use crate::protocol::{Envelope, Error, Result};

/// An argument of `#[accept]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an argument of `#[accept]`",
    label = "expected `&kengine::Handshake`",
    note = "there is no connection and no session yet"
)]
pub trait IsAcceptArgument<'a> {
    #[doc(hidden)]
    fn take(handshake: &'a Handshake) -> Self;
}

#[diagnostic::do_not_recommend]
impl<'a> IsAcceptArgument<'a> for &'a Handshake {
    fn take(handshake: &'a Handshake) -> Self {
        handshake
    }
}

/// An argument of `#[before]` or `#[close]`: context, or a reference to the `E` that the hook is about.
///
/// `V` tells the two implementations apart; rustc infers it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an argument of this hook",
    label = "expected `&{E}`, `&{S}`, `&Connection<{S}>`, `&Hub`, `&Envelope<'_>` or a type that implements `kengine::FromContext`",
    note = "context is taken by reference; only a route can take a message",
    note = "the session is what `#[accept]` returns; a block without it names the session: `#[kengine::dispatcher(session = …)]`"
)]
pub trait IsHookArgument<'a, S, E, V>: Sized {
    #[doc(hidden)]
    fn take(context: Context<'a, S>, event: &'a E) -> Result<Self>;
}

#[diagnostic::do_not_recommend]
impl<'a, S, E> IsHookArgument<'a, S, E, Event> for &'a E {
    fn take(_: Context<'a, S>, event: &'a E) -> Result<Self> {
        Ok(event)
    }
}

#[diagnostic::do_not_recommend]
impl<'a, S, E, T: FromContext<'a, S>> IsHookArgument<'a, S, E, Valid> for T {
    fn take(context: Context<'a, S>, _: &'a E) -> Result<Self> {
        T::take(context)
    }
}

/// Marks an argument that is a reference to what the hook is about, such as a [`Call`](crate::Call).
#[derive(Debug)]
pub struct Event;

/// A route's last argument. Only its type tells whether it is context or the message.
///
/// The expansion calls `find()` on it. Method lookup tries these in order, and takes the first that fits:
///
/// 1. by value, inherent: the type is context, or `()` in a dispatcher whose session is `()`;
/// 2. by value, [`FindLent`]: it is context that can only be borrowed. A session is never decoded;
/// 3. by `&`, [`FindMessage`]: it can be decoded;
/// 4. by `&mut`, [`FindOther`]: it is none of these.
#[doc(hidden)]
#[derive(Debug)]
pub struct Last<'a, S, T> {
    context: Context<'a, S>,
    argument: PhantomData<fn() -> T>,
}

/// See [`Last`].
#[doc(hidden)]
pub fn last<S, T>(context: Context<'_, S>) -> Last<'_, S, T> {
    Last { context, argument: PhantomData }
}

/// An argument, and the verdict on its type: [`Valid`], [`Lent`] or [`Undecodable`]. Only with [`Valid`] is there an
/// argument; a program with another verdict does not compile.
#[doc(hidden)]
#[derive(Debug)]
pub struct Found<T, V> {
    argument: Result<T>,
    verdict: PhantomData<V>,
}

/// A type that an argument can have.
#[derive(Debug)]
pub struct Valid;

/// A type that can only be borrowed.
#[derive(Debug)]
pub struct Lent;

/// A type that is neither context nor a message.
#[derive(Debug)]
pub struct Undecodable;

impl<T, V> Found<T, V> {
    fn new(argument: Result<T>) -> Self {
        Self { argument, verdict: PhantomData }
    }

    fn invalid() -> Self {
        Self::new(Err(Error::internal("the type of an argument is invalid")))
    }
}

impl<'a, S, T: FromContext<'a, S>> Last<'a, S, T> {
    pub fn find(self) -> Found<T, Valid> {
        Found::new(no_message(self.context).and_then(|()| T::take(self.context)))
    }
}

impl Last<'_, (), ()> {
    pub fn find(self) -> Found<(), Valid> {
        Found::new(decode(self.context))
    }
}

#[doc(hidden)]
pub trait FindLent<T> {
    fn find(self) -> Found<T, Lent>;
}

impl<'a, S, T: Borrowed<'a, S>> FindLent<T> for Last<'a, S, T> {
    fn find(self) -> Found<T, Lent> {
        Found::invalid()
    }
}

#[doc(hidden)]
pub trait FindMessage<T> {
    fn find(&self) -> Found<T, Valid>;
}

impl<'a, S, T: Deserialize<'a>> FindMessage<T> for Last<'a, S, T> {
    fn find(&self) -> Found<T, Valid> {
        Found::new(decode(self.context))
    }
}

#[doc(hidden)]
pub trait FindOther<T> {
    fn find(&mut self) -> Found<T, Undecodable>;
}

impl<S, T> FindOther<T> for Last<'_, S, T> {
    fn find(&mut self) -> Found<T, Undecodable> {
        Found::invalid()
    }
}

fn decode<'a, T: Deserialize<'a>, S>(context: Context<'a, S>) -> Result<T> {
    let no_request = || Error::internal("there is no request from which to decode a message");
    context.envelope().ok_or_else(no_request).and_then(Envelope::message)
}

/// A route's last argument that need not be borrowed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is borrowed: take `&{Self}`",
    label = "expected `&{Self}`",
    note = "by value it would be the message, which the client sends; a message that contains a `{Self}` is another type"
)]
pub trait IsOwned<V>: Sized {
    #[doc(hidden)]
    fn check(found: Found<Self, V>) -> Found<Self, V> {
        found
    }
}

#[diagnostic::do_not_recommend]
impl<T> IsOwned<Valid> for T {}

#[diagnostic::do_not_recommend]
impl<T> IsOwned<Undecodable> for T {}

/// A route's last argument that is context or a message.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a message type",
    label = "expected a type that implements `serde::Deserialize`",
    note = "add `#[derive(serde::Deserialize)]` to `{Self}`",
    note = "context is taken by reference, or implements `kengine::FromContext`"
)]
pub trait IsMessage<V>: Sized {
    #[doc(hidden)]
    fn take(found: Found<Self, V>) -> Result<Self> {
        found.argument
    }
}

#[diagnostic::do_not_recommend]
impl<T> IsMessage<Valid> for T {}

#[diagnostic::do_not_recommend]
impl<T> IsMessage<Lent> for T {}

/// A route's last argument if it is a reference: context, or a message that borrows from the request.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a context argument of a dispatcher whose session is `{S}`",
    label = "expected `&{S}`, `&Connection<{S}>`, `&Hub`, `&Envelope<'_>` or a type that implements `kengine::FromContext`",
    note = "context is taken by reference; a route takes its message by value, as its last argument",
    note = "the session is what `#[accept]` returns; a block without it names the session: `#[kengine::dispatcher(session = …)]`"
)]
pub trait IsReference<S, V>: Sized {
    #[doc(hidden)]
    fn take(found: Found<Self, V>) -> Result<Self> {
        found.argument
    }
}

#[diagnostic::do_not_recommend]
impl<S, T> IsReference<S, Valid> for T {}

// With a single implementation, rustc would infer the verdict from it and report the mismatch.
#[diagnostic::do_not_recommend]
impl<S, T> IsReference<S, Lent> for T {}
