//! Panics of the user's code, caught where it is called.

use std::{
    any::Any,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::{Context, Poll},
};

/// What a panic said.
pub(crate) type Words = String;

/// Polls a future of the user's; a panic in it is an error. It is never polled again after one, and the state that
/// it shares is the user's to keep sound, as with a panic under a lock.
pub(crate) fn poll_contained<F: Future>(
    future: std::pin::Pin<&mut F>,
    cx: &mut Context<'_>,
) -> Poll<Result<F::Output, Words>> {
    match call_contained(|| future.poll(cx)) {
        Ok(polled) => polled.map(Ok),
        Err(words) => Poll::Ready(Err(words)),
    }
}

/// Calls a function of the user's; a panic in it is an error.
pub(crate) fn call_contained<T>(call: impl FnOnce() -> T) -> Result<T, Words> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let words = words(&*panic);
        tracing::error!(panic = words, "a handler panicked");
        words.to_owned()
    })
}

/// Runs a future of the user's as [`poll_contained`] does.
pub(crate) async fn contained<F: Future>(future: F) -> Result<F::Output, Words> {
    let mut future = pin!(future);
    poll_fn(|cx| poll_contained(future.as_mut(), cx)).await
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words")
}
