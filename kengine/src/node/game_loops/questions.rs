//! The questions of this node to game loops on other nodes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::node_state::LoopFault;

/// The reply of a game loop, as JSON.
pub(super) type LoopReply = Result<Bytes, LoopFault>;

/// The open questions, by number. There is at most one for each running handler.
#[derive(Default)]
pub(super) struct LoopQuestions {
    open: Mutex<HashMap<u64, oneshot::Sender<LoopReply>>>,
    next: AtomicU64,
}

impl LoopQuestions {
    pub(super) fn open(&self) -> LoopQuestion<'_> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.open.lock().insert(number, answer);
        LoopQuestion { questions: self, number, answer: answered }
    }

    /// Passes an answer on. A late one is ignored.
    pub(super) fn answered(&self, number: u64, answer: LoopReply) {
        if let Some(question) = self.open.lock().remove(&number) {
            let _ = question.send(answer);
        }
    }
}

/// An open question. Dropping it closes it.
pub(super) struct LoopQuestion<'q> {
    questions: &'q LoopQuestions,
    pub(super) number: u64,
    answer: oneshot::Receiver<LoopReply>,
}

impl LoopQuestion<'_> {
    /// Waits for the answer.
    pub(super) async fn answered(mut self) -> Result<LoopReply, oneshot::error::RecvError> {
        (&mut self.answer).await
    }
}

impl Drop for LoopQuestion<'_> {
    fn drop(&mut self) {
        self.questions.open.lock().remove(&self.number);
    }
}
