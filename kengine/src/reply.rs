//! What a handler returns, and what becomes of it.

use serde::Serialize;

use crate::{Answer, Context, Dispatcher, Error, Liveness, Result, dispatch::unknown_method};

/// The position of a route among those that the `cfg`s left.
#[doc(hidden)]
pub const fn position<D: Dispatcher>(name: &str) -> usize {
    let mut position = 0;
    while position < D::ROUTES.len() {
        if equal(D::ROUTES[position].name.as_bytes(), name.as_bytes()) {
            return position;
        }
        position += 1;
    }
    position
}

/// `==` on slices is not `const` yet.
const fn equal(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// Notes which route takes the message.
#[doc(hidden)]
pub fn enter(answer: &mut Answer, route: usize) {
    answer.routed(route);
}

/// The handler's future, which must be `Send`.
///
/// The bound stands here so that rustc reports a breach on the handler's name; the return type repeats it so
/// that there is no second report, on the attribute.
#[doc(hidden)]
pub fn sent<F: Future + Send>(future: F) -> impl Future<Output = F::Output> + Send {
    future
}

/// Fails, as no route takes the message.
#[doc(hidden)]
pub fn unrouted<S>(context: Context<'_, S>) -> Result<()> {
    Err(unknown_method(context))
}

/// What a handler returned.
///
/// The expansion calls `outcome()` on it. A `Result`, under whatever name, finds the inherent method; any other
/// type finds [`Infallible`].
#[doc(hidden)]
#[derive(Debug)]
pub struct Returned<T>(pub T);

impl<T, E> Returned<Result<T, E>> {
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
pub trait Infallible: Sized {
    /// The value itself.
    ///
    /// # Errors
    ///
    /// None.
    fn outcome(self) -> Result<Self>;
}

impl<T> Infallible for Returned<T> {
    fn outcome(self) -> Result<Self> {
        Ok(self)
    }
}

impl<T> Returned<T> {
    /// Writes the reply of a route or of the fallback.
    ///
    /// # Errors
    ///
    /// None; the arms of a dispatcher end with a `Result`.
    pub fn write(self, answer: &mut Answer) -> Result<()>
    where
        T: Reply,
    {
        answer.result(&self.0);
        Ok(())
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
    label = "expected an error that is `Into<kengine::Error>`"
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
