//! Where the future of a handler is while it runs.
//!
//! The future of a dispatcher has room for the future of each route's handler, and is allocated and moved for every
//! message. So one large handler would make the messages of all routes slow. The future of a large handler is therefore
//! boxed alone, when the handler is called. The expansion asks for its size while the program is compiled; it cannot in
//! a block with generic parameters, where no future is boxed.

use std::pin::Pin;

/// The largest future of a handler that is not boxed, in bytes.
const MAX_INLINE: usize = 256;

/// Whether the future that `call` would return is large.
#[doc(hidden)]
pub const fn is_large<F>(_: &impl FnOnce() -> F) -> bool {
    size_of::<F>() > MAX_INLINE
}

/// Stands for an argument in a call that is never made, such as the one for [`is_large`].
#[doc(hidden)]
pub fn any<T>() -> T {
    unreachable!("a call that only tells the size of its result")
}

/// Returns the future of a handler, which must be `Send`, and boxes it if it is large. Called on the future of each
/// handler, so that the error for one that is not `Send` is reported at the handler's name.
// The return type repeats the bound, because otherwise rustc reports a second error at the future of
// `Dispatcher::dispatch`.
pub fn handler_future<const IS_LARGE: bool, F: Future + Send>(future: F) -> impl Future<Output = F::Output> + Send
where
    Size<IS_LARGE>: Place,
{
    Size::<IS_LARGE>::place(future)
}

/// The size of a future.
#[doc(hidden)]
#[derive(Debug)]
pub struct Size<const IS_LARGE: bool>;

/// How the future of a handler is placed.
#[doc(hidden)]
pub trait Place {
    type Placed<F: Future + Send>: Future<Output = F::Output> + Send;

    fn place<F: Future + Send>(future: F) -> Self::Placed<F>;
}

impl Place for Size<false> {
    type Placed<F: Future + Send> = F;

    fn place<F: Future + Send>(future: F) -> F {
        future
    }
}

impl Place for Size<true> {
    type Placed<F: Future + Send> = Pin<Box<F>>;

    fn place<F: Future + Send>(future: F) -> Pin<Box<F>> {
        Box::pin(future)
    }
}
