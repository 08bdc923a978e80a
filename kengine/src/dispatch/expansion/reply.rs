//! What a handler returns, and what becomes of it.

use serde::Serialize;

use crate::{
    dispatch::{context::Context, dispatcher::Dispatcher},
    http::refusal::Refusal,
    language::{
        answer::Answer,
        const_text::equal,
        error::{Error, Result},
        liveness::Liveness,
        session::Session,
    },
};

/// The position of a route among those that the `cfg`s left.
#[doc(hidden)]
pub const fn position<D: Dispatcher>(name: &str) -> usize {
    let mut position = 0;
    while position < D::ROUTES.len() {
        if equal(D::ROUTES[position].name, name) {
            return position;
        }
        position += 1;
    }
    position
}

/// Notes which route takes the message, by its index in its dispatcher's table.
#[doc(hidden)]
pub fn enter<S>(context: Context<'_, S>, route: usize) {
    context.set_route(route);
}

/// The handler's future, which must be `Send`.
///
/// The bound stands here so that rustc reports a breach on the handler's name; the return type repeats it so
/// that there is no second report, on the attribute.
#[doc(hidden)]
pub fn sent<F: Future + Send>(future: F) -> impl Future<Output = F::Output> + Send {
    future
}

/// What a handler returned.
///
/// The expansion calls `outcome()` on it. A `Result`, under whatever name, finds the inherent method; any other
/// type finds [`Plain`].
#[doc(hidden)]
#[derive(Debug)]
pub struct Returned<T>(pub T);

impl<T, E> Returned<Result<T, E>> {
    /// See [`Admission`].
    pub const FORM: u8 = RESULT;

    /// The session that `#[accept]` decided for.
    ///
    /// # Errors
    ///
    /// The refusal that it decided for.
    pub fn admitted(self) -> Result<T, Refusal>
    where
        E: Rejection,
    {
        self.0.map_err(Rejection::refusal)
    }

    /// The value of the `Result`.
    ///
    /// # Errors
    ///
    /// That of the `Result`.
    pub fn outcome(self) -> Result<Returned<T>>
    where
        E: Failure,
    {
        self.0.map(Returned).map_err(Into::into)
    }
}

/// See [`Returned`].
#[doc(hidden)]
pub trait Plain<T>: Sized {
    /// See [`Admission`].
    const FORM: u8 = SESSION;

    /// The session that `#[accept]` returned.
    ///
    /// # Errors
    ///
    /// None.
    fn admitted(self) -> Result<T, Refusal>;

    /// The value itself.
    ///
    /// # Errors
    ///
    /// None.
    fn outcome(self) -> Result<Self>;
}

impl<T> Plain<T> for Returned<T> {
    fn admitted(self) -> Result<T, Refusal> {
        Ok(self.0)
    }

    fn outcome(self) -> Result<Self> {
        Ok(self)
    }
}

impl<T> Returned<T> {
    /// Writes the reply of a route or of the fallback.
    pub fn write(self, answer: &mut Answer)
    where
        T: Reply,
    {
        answer.result(&self.0);
    }

    /// The decision of a heartbeat hook.
    ///
    /// # Errors
    ///
    /// None; a hook ends with a `Result`.
    pub fn liveness(self) -> Result<Liveness>
    where
        T: Decision,
    {
        Ok(self.0.into())
    }

    /// That a hook has nothing to say beyond its errors.
    ///
    /// # Errors
    ///
    /// None; a hook ends with a `Result`.
    pub fn nothing(self) -> Result<()>
    where
        T: Nothing,
    {
        Ok(())
    }
}

/// A reply. [`Serialize`], with our words.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be returned from a route",
    label = "expected `()`, a `serde::Serialize` type, or an `Option`/`Result` of one",
    note = "add `#[derive(serde::Serialize)]` to `{Self}`"
)]
pub trait Reply: Serialize {}

#[diagnostic::do_not_recommend]
impl<T: Serialize> Reply for T {}

/// The error of a `Result`. [`Into<Error>`], with our words.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot become an error reply; implement `From<{Self}> for kengine::Error`",
    label = "expected an error that is `Into<kengine::Error>`",
    note = "or say `.map_err(kengine::Error::internal)`, or `.map_err(|_| kengine::Error::new(\"code\", \"message\"))`"
)]
pub trait Failure: Into<Error> {}

#[diagnostic::do_not_recommend]
impl<E: Into<Error>> Failure for E {}

/// What a heartbeat hook returns. [`Liveness`], with our words.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what to do about a heartbeat",
    label = "expected `kengine::Liveness`"
)]
pub trait Decision: Into<Liveness> {}

impl Decision for Liveness {}

/// What `#[open]`, `#[close]` and `#[before]` return.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be returned from this hook",
    label = "expected `()` or a `Result` of it"
)]
pub trait Nothing {}

impl Nothing for () {}

/// What `#[accept]` returns: a session, or a `Result` of one. The session's type is read off it.
///
/// The expansion says which of the two by `Returned::<T>::FORM`. So every type has a session, and one that is none is
/// one error, of [`Dispatcher::Session`], instead of one wherever it is named.
#[doc(hidden)]
pub trait Admission<const FORM: u8> {
    type Session;
}

const RESULT: u8 = 0;
const SESSION: u8 = 1;
/// The form that a type parameter decides, on which a `FORM` cannot depend.
#[doc(hidden)]
pub const EITHER: u8 = 2;

impl<S, E> Admission<RESULT> for Result<S, E> {
    type Session = S;
}

impl<S> Admission<SESSION> for S {
    type Session = S;
}

impl<S, E> Admission<EITHER> for Result<S, E> {
    type Session = S;
}

impl<S: Session> Admission<EITHER> for S {
    type Session = S;
}

/// The session that `#[accept]` makes, where it is named besides.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "the session is `{S}`, not `{Self}`",
    label = "expected `{S}`, or a `Result` of it"
)]
pub trait Admitted<S> {
    fn session(self) -> S;
}

impl<S> Admitted<S> for S {
    fn session(self) -> S {
        self
    }
}

/// What `#[accept]` decided, by the name of the session.
///
/// # Errors
///
/// The refusal that it decided for.
#[doc(hidden)]
pub fn session<S, T: Admitted<S>>(admitted: Result<T, Refusal>) -> Result<S, Refusal> {
    admitted.map(Admitted::session)
}

/// The error of `#[accept]`. [`Into<Refusal>`], with our words.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot refuse a connection; implement `From<{Self}> for kengine::Refusal`",
    label = "expected an error that is `Into<kengine::Refusal>`",
    note = "or say `.map_err(kengine::Refusal::internal)`, or `.map_err(|_| kengine::Refusal::unauthorized(\"message\"))`"
)]
pub trait Rejection {
    fn refusal(self) -> Refusal;
}

#[diagnostic::do_not_recommend]
impl<E: Into<Refusal>> Rejection for E {
    fn refusal(self) -> Refusal {
        self.into()
    }
}
