//! The buffers that a connection borrows while it is awake and returns before it sleeps.

use std::cell::Cell;

use crate::connection::output::Output;
use crate::protocol::Answer;

/// The size of a read buffer in bytes.
pub(super) const READ_SIZE: usize = 16 * 1024;
/// The largest capacity with which a buffer is kept for the next wake, in bytes.
const MAX_KEPT: usize = 64 * 1024;

thread_local! {
    /// The buffers that no connection uses. One set is enough: a second is needed only while a handler waits, and is
    /// allocated then.
    static SPARE: Cell<Option<Box<Buffers>>> = const { Cell::new(None) };
}

/// What a connection needs while it is awake. An idle connection holds none of it.
pub(super) struct Buffers {
    /// [`READ_SIZE`] bytes to read into.
    pub(super) read: Vec<u8>,
    /// The frames to write.
    pub(super) out: Output,
    pub(super) answer: Answer,
}

/// Borrows this thread's buffers, or allocates new ones if those are in use.
#[expect(clippy::unnecessary_box_returns, reason = "the idle task holds them as a pointer")]
pub(super) fn borrow() -> Box<Buffers> {
    SPARE.take().unwrap_or_else(|| {
        Box::new(Buffers { read: vec![0; READ_SIZE], out: Output::default(), answer: Answer::default() })
    })
}

/// Gives buffers back to the thread on which the task runs now.
pub(super) fn give_back(mut buffers: Box<Buffers>) {
    buffers.out.clear();
    buffers.out.shrink_to(MAX_KEPT);
    if buffers.answer.capacity() > MAX_KEPT {
        buffers.answer = Answer::default();
    }
    SPARE.set(Some(buffers));
}
