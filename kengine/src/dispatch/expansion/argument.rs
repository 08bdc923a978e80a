//! How the arguments of a handler are made from the context or the message.
//!
//! The expansion makes each argument with a trait function that it calls on the argument's own type, as in
//! `<&Player as FromContext<'_, Player>>::take(context)`. If the type is wrong, rustc reports the error at that type,
//! with the message of the trait, and mentions nothing else of kengine.

use std::marker::PhantomData;

use serde::Deserialize;

use crate::dispatch::context::Context;
use crate::dispatch::expansion::probe::{Probe, condition};
use crate::dispatch::expansion::request::no_message;
use crate::dispatch::from_context::{Borrowed, FromContext};
use crate::http::Handshake;
use crate::protocol::{Answer, Error, Result};

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
impl<'a, S, E, T: FromContext<'a, S>> IsHookArgument<'a, S, E, Given> for T {
    fn take(context: Context<'a, S>, _: &'a E) -> Result<Self> {
        T::take(context)
    }
}

/// Marks an argument that is a reference to what the hook is about, such as a [`Call`](crate::Call).
#[derive(Debug)]
pub struct Event;

/// The question of what a route's last argument is. Only its type `T` tells whether it is context or the message:
///
/// 1. the message, if it is `()` in a dispatcher whose session is `()`;
/// 2. context, if the type is context;
/// 3. wrong, if it is context that can only be borrowed. A session is never decoded;
/// 4. the message, if it can be decoded;
/// 5. wrong.
#[doc(hidden)]
#[derive(Debug)]
pub struct Argument<'a, S, T>(PhantomData<(Context<'a, S>, T)>);

/// Asks what a route's last argument is.
#[doc(hidden)]
pub fn argument<S, T>(_: Context<'_, S>) -> Probe<Argument<'_, S, T>, 0> {
    Probe::new()
}

condition!(['a] Argument<'a, (), ()>, 0 => Decoded);
condition!(['a, S, T: FromContext<'a, S>] Argument<'a, S, T>, 1 => Given);
condition!(['a, S, T: Borrowed<'a, S>] Argument<'a, S, T>, 2 => Lent);
condition!(['a, S, T: Deserialize<'a>] Argument<'a, S, T>, 3 => Decoded);
condition!(['a, S, T] Argument<'a, S, T>, 4 => Undecodable);

/// The verdict on an argument that is context.
#[derive(Clone, Copy, Debug)]
pub struct Given;

/// The verdict on an argument that is the message.
#[derive(Clone, Copy, Debug)]
pub struct Decoded;

/// The verdict on a type that can only be borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Lent;

/// The verdict on a type that is neither context nor a message.
#[derive(Clone, Copy, Debug)]
pub struct Undecodable;

/// Makes an argument of the type `T`, as the verdict on the type says.
#[doc(hidden)]
pub trait Take<'a, S, T> {
    /// Gives the answer the request's id, too.
    ///
    /// # Errors
    ///
    /// The context is not available, or the message cannot be decoded.
    fn take(context: Context<'a, S>, answer: &mut Answer) -> Result<T>;
}

impl<'a, S, T: FromContext<'a, S>> Take<'a, S, T> for Given {
    fn take(context: Context<'a, S>, answer: &mut Answer) -> Result<T> {
        no_message(context, answer)?;
        T::take(context)
    }
}

impl<'a, S, T: Deserialize<'a>> Take<'a, S, T> for Decoded {
    fn take(context: Context<'a, S>, answer: &mut Answer) -> Result<T> {
        let no_request = || Error::internal("there is no request from which to decode a message");
        let envelope = context.envelope().ok_or_else(no_request)?;
        let (message, id) = envelope.decode()?;
        if id != envelope.early_id() {
            answer.set_id(id);
        }
        Ok(message)
    }
}

// A program with one of these verdicts does not compile. They implement `Take` all the same, so that rustc reports only
// that error.
impl<'a, S, T> Take<'a, S, T> for Lent {
    fn take(_: Context<'a, S>, _: &mut Answer) -> Result<T> {
        Err(Error::internal("this argument can only be borrowed"))
    }
}

impl<'a, S, T> Take<'a, S, T> for Undecodable {
    fn take(_: Context<'a, S>, _: &mut Answer) -> Result<T> {
        Err(Error::internal("this argument cannot be decoded"))
    }
}

/// A route's last argument that need not be borrowed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is borrowed: take `&{Self}`",
    label = "expected `&{Self}`",
    note = "by value it would be the message, which the client sends; a message that contains a `{Self}` is another type"
)]
pub trait IsOwned<V>: Sized {
    #[doc(hidden)]
    fn check(verdict: V) -> V {
        verdict
    }
}

#[diagnostic::do_not_recommend]
impl<T> IsOwned<Given> for T {}

#[diagnostic::do_not_recommend]
impl<T> IsOwned<Decoded> for T {}

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
    fn take<'a, S>(_: V, context: Context<'a, S>, answer: &mut Answer) -> Result<Self>
    where
        V: Take<'a, S, Self>,
    {
        V::take(context, answer)
    }
}

#[diagnostic::do_not_recommend]
impl<T> IsMessage<Given> for T {}

#[diagnostic::do_not_recommend]
impl<T> IsMessage<Decoded> for T {}

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
    fn take<'a>(_: V, context: Context<'a, S>, answer: &mut Answer) -> Result<Self>
    where
        V: Take<'a, S, Self>,
    {
        V::take(context, answer)
    }
}

#[diagnostic::do_not_recommend]
impl<S, T> IsReference<S, Given> for T {}

#[diagnostic::do_not_recommend]
impl<S, T> IsReference<S, Decoded> for T {}
