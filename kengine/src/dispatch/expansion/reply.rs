//! What a handler may return, and how it is converted.

use std::marker::PhantomData;

use serde::Serialize;

use crate::dispatch::expansion::probe::{Probe, condition};
use crate::http::Refusal;
use crate::protocol::{Answer, Error, Liveness, Session};

/// The question of whether a handler returned a `Result`, perhaps under an alias.
#[doc(hidden)]
#[derive(Debug)]
pub struct Returned<T>(PhantomData<T>);

/// Asks whether a handler returned a `Result`.
#[doc(hidden)]
pub fn returned<T>(_: &T) -> Probe<Returned<T>, 0> {
    Probe::new()
}

condition!([T, E] Returned<Result<T, E>>, 0 => Fallible);
condition!([T] Returned<T>, 1 => Infallible);

/// The verdict on a `Result`.
#[derive(Clone, Copy, Debug)]
pub struct Fallible;

/// The verdict on any other type that a method returns.
#[derive(Clone, Copy, Debug)]
pub struct Infallible;

/// The error of a handler that does not return a `Result`.
#[doc(hidden)]
#[derive(Debug)]
pub enum Never {}

// These methods take `self`, because method lookup then finds them before the methods of a user's traits.
impl Fallible {
    /// Returns what the handler returned.
    ///
    /// # Errors
    ///
    /// The error that the handler returned.
    pub fn result<T, E>(self, returned: Result<T, E>) -> Result<T, E> {
        returned
    }
}

impl Infallible {
    /// Returns what the handler returned.
    ///
    /// # Errors
    ///
    /// None.
    pub fn result<T>(self, returned: T) -> Result<T, Never> {
        Ok(returned)
    }
}

/// What a route or `#[fallback]` returns: a type that implements [`Serialize`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be returned from a route",
    label = "expected `()`, a `serde::Serialize` type, or an `Option`/`Result` of one",
    note = "add `#[derive(serde::Serialize)]` to `{Self}`"
)]
pub trait IsReply: Sized {
    #[doc(hidden)]
    fn write(self, answer: &mut Answer) -> Result<(), Error>;
}

#[diagnostic::do_not_recommend]
impl<T: Serialize> IsReply for T {
    fn write(self, answer: &mut Answer) -> Result<(), Error> {
        answer.try_result(&self)
    }
}

/// The error that a handler returns: a type that is [`Into<Error>`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot become an error reply; implement `From<{Self}> for kengine::Error`",
    label = "expected an error that is `Into<kengine::Error>`",
    note = "or write `.map_err(kengine::Error::internal)`, or `.map_err(|_| kengine::Error::new(\"code\", \"message\"))`"
)]
pub trait IsErrorReply {
    #[doc(hidden)]
    fn into_error(self) -> Error;
}

#[diagnostic::do_not_recommend]
impl<E: Into<Error>> IsErrorReply for E {
    fn into_error(self) -> Error {
        self.into()
    }
}

#[diagnostic::do_not_recommend]
impl IsErrorReply for Never {
    fn into_error(self) -> Error {
        match self {}
    }
}

/// What `#[heartbeat]` returns: [`Liveness`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be returned from `#[heartbeat]`",
    label = "expected `kengine::Liveness`"
)]
pub trait IsLiveness {
    #[doc(hidden)]
    fn liveness(self) -> Liveness;
}

#[diagnostic::do_not_recommend]
impl IsLiveness for Liveness {
    fn liveness(self) -> Liveness {
        self
    }
}

/// What `#[open]`, `#[close]` and `#[before]` return: `()`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be returned from this hook",
    label = "expected `()` or a `Result` of it"
)]
pub trait IsHookOutput {
    #[doc(hidden)]
    fn end(self);
}

#[diagnostic::do_not_recommend]
impl IsHookOutput for () {
    fn end(self) {}
}

/// What `#[accept]` returns: a session, or a `Result` of one.
///
/// `V` tells the two implementations apart; rustc infers it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a session",
    label = "expected a type that implements `kengine::Session`",
    note = "add `impl kengine::Session for {Self} {{}}`",
    note = "an `#[accept]` that may refuse returns a `Result` such as `Result<Player, kengine::Refusal>`"
)]
pub trait IsAcceptOutput<V> {
    /// See [`Accepted`].
    #[doc(hidden)]
    const FORM: u8;
}

#[diagnostic::do_not_recommend]
impl<S, E> IsAcceptOutput<Fallible> for Result<S, E> {
    const FORM: u8 = RESULT;
}

#[diagnostic::do_not_recommend]
impl<S: Session> IsAcceptOutput<Infallible> for S {
    const FORM: u8 = SESSION;
}

/// The session in what `#[accept]` returns.
///
/// [`IsAcceptOutput`] tells the expansion the form. A `Result` has an associated `Session` of any type. If that is not
/// a session, rustc reports a single error, at [`Dispatcher::Session`](crate::Dispatcher::Session).
#[doc(hidden)]
pub trait Accepted<const FORM: u8> {
    type Session;
}

const RESULT: u8 = 0;
const SESSION: u8 = 1;
/// The form of a type that mentions a generic parameter: a constant argument cannot depend on it.
#[doc(hidden)]
pub const EITHER: u8 = 2;

impl<S, E> Accepted<RESULT> for Result<S, E> {
    type Session = S;
}

impl<S> Accepted<SESSION> for S {
    type Session = S;
}

impl<S, E> Accepted<EITHER> for Result<S, E> {
    type Session = S;
}

impl<S: Session> Accepted<EITHER> for S {
    type Session = S;
}

/// What `#[accept]` returns in a block that also names its session: that session.
#[diagnostic::on_unimplemented(
    message = "the session is `{S}`, not `{Self}`",
    label = "expected `{S}`, or a `Result` of it"
)]
pub trait IsSession<S> {
    #[doc(hidden)]
    fn session(self) -> S;
}

impl<S> IsSession<S> for S {
    fn session(self) -> S {
        self
    }
}

/// The error that `#[accept]` returns: a type that is [`Into<Refusal>`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot refuse a connection; implement `From<{Self}> for kengine::Refusal`",
    label = "expected an error that is `Into<kengine::Refusal>`",
    note = "or write `.map_err(kengine::Refusal::internal)`, or `.map_err(|_| kengine::Refusal::unauthorized(\"message\"))`"
)]
pub trait IsRefusal {
    #[doc(hidden)]
    fn into_refusal(self) -> Refusal;
}

#[diagnostic::do_not_recommend]
impl<E: Into<Refusal>> IsRefusal for E {
    fn into_refusal(self) -> Refusal {
        self.into()
    }
}

#[diagnostic::do_not_recommend]
impl IsRefusal for Never {
    fn into_refusal(self) -> Refusal {
        match self {}
    }
}
