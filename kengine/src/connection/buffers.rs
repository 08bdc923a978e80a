//! The buffers that a connection borrows while it is awake and gives back before it sleeps.

use std::cell::Cell;

use crate::language::answer::Answer;

/// How much is read at once, and how far reading goes on while a handler runs, in bytes.
pub(super) const READ: usize = 16 * 1024;
/// What a buffer may have grown to and still be kept for the next wake, in bytes.
const KEPT: usize = 64 * 1024;

thread_local! {
    /// One is enough: a second is needed only while a handler waits, and costs an allocation then.
    static SPARE: Cell<Option<Box<Buffers>>> = const { Cell::new(None) };
}

/// What a wake needs: an idle connection holds none of it.
#[derive(Debug)]
pub(super) struct Buffers {
    /// [`READ`] bytes to read into.
    pub(super) read: Vec<u8>,
    /// Room for the frames to be sent.
    pub(super) out: Vec<u8>,
    pub(super) answer: Answer,
}

/// Borrows this thread's buffers, or a new one while that is lent out.
#[expect(clippy::unnecessary_box_returns, reason = "it lives in a box, and is a pointer in the idle task")]
pub(super) fn borrow() -> Box<Buffers> {
    SPARE.take().unwrap_or_else(|| {
        Box::new(Buffers { read: vec![0; READ], out: Vec::new(), answer: Answer::default() })
    })
}

/// Gives a buffers back, to whichever thread the task is on by now.
pub(super) fn give_back(mut buffers: Box<Buffers>) {
    buffers.out.clear();
    if buffers.out.capacity() > KEPT {
        buffers.out = Vec::new();
    }
    if buffers.answer.capacity() > KEPT {
        buffers.answer = Answer::default();
    }
    SPARE.set(Some(buffers));
}
