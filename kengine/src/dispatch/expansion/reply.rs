//! What a handler may return, and how it is converted.

use serde::Serialize;

use crate::http::Refusal;
use crate::protocol::{Answer, Error, Liveness, Session};

/// Returns the future of a handler, which must be `Send`. Called on the future of each handler, so that the error for
/// one that is not `Send` is reported at the handler's name.
// The return type repeats the bound, because otherwise rustc reports a second error at the future of
// `Dispatcher::dispatch`.
pub fn handler_future<F: Future + Send>(future: F) -> impl Future<Output = F::Output> + Send {
    future
}

/// What a handler returned.
///
/// The expansion calls `result()` on it. A `Result`, also under an alias, has the inherent method; any other type has
/// the method of [`Plain`].
#[doc(hidden)]
#[derive(Debug)]
pub struct Returned<T>(pub T);

/// The error of a handler that does not return a `Result`.
#[doc(hidden)]
#[derive(Debug)]
pub enum Never {}

impl<T, E> Returned<Result<T, E>> {
    /// See [`Accepted`].
    pub const FORM: u8 = RESULT;

    /// Returns what the handler returned.
    ///
    /// # Errors
    ///
    /// The error that the handler returned.
    pub fn result(self) -> Result<T, E> {
        self.0
    }
}

/// See [`Returned`].
#[doc(hidden)]
pub trait Plain<T>: Sized {
    /// See [`Accepted`].
    const FORM: u8 = SESSION;

    /// Returns what the handler returned.
    ///
    /// # Errors
    ///
    /// None.
    fn result(self) -> Result<T, Never>;
}

impl<T> Plain<T> for Returned<T> {
    fn result(self) -> Result<T, Never> {
        Ok(self.0)
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
    fn write(self, answer: &mut Answer);
}

#[diagnostic::do_not_recommend]
impl<T: Serialize> IsReply for T {
    fn write(self, answer: &mut Answer) {
        answer.result(&self);
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
/// `Returned::<T>::FORM` tells the expansion which of the two it is, so that every type has an associated `Session`. If
/// that is not a session, rustc reports a single error, at [`Dispatcher::Session`](crate::Dispatcher::Session).
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
