//! Catches panics of the user's code where that code is called.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

/// The message of a panic.
pub(crate) type PanicMessage = String;

/// Polls a user's future and turns a panic into an error. The future must not be polled again after a panic. If the
/// future shares state, the user must keep that state consistent, as for a panic while a lock is held.
pub(crate) fn poll_catching<F: Future>(
    future: Pin<&mut F>,
    cx: &mut Context<'_>,
) -> Poll<Result<F::Output, PanicMessage>> {
    match call_catching(|| future.poll(cx)) {
        Ok(polled) => polled.map(Ok),
        Err(message) => Poll::Ready(Err(message)),
    }
}

/// Calls a user's function and turns a panic into an error.
pub(crate) fn call_catching<T>(call: impl FnOnce() -> T) -> Result<T, PanicMessage> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let message = message(&*panic);
        tracing::error!(panic = message, "a panic was caught");
        message.to_owned()
    })
}

/// Runs a user's future and turns a panic into an error.
pub(crate) async fn run_catching<F: Future>(future: F) -> Result<F::Output, PanicMessage> {
    let mut future = pin!(future);
    poll_fn(|cx| poll_catching(future.as_mut(), cx)).await
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}
