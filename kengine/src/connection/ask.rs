//! Questions that the server puts to a client, and the client's answers.
//!
//! A question is a push with an id, and its answer comes back under that id:
//!
//! ```text
//! {"id":1,"method":"trade","message":{…}}      →
//!                                              ←      {"id":1,"result":true}
//! ```
//!
//! Answers overtake the requests that wait while a handler runs, since it may be that handler which has asked.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    future::IntoFuture,
    marker::PhantomData,
    pin::Pin,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tokio::{sync::oneshot, time::timeout};

use super::Connection;
use crate::{Error, Frame, Push, SendError, Syntax, push};

/// How many questions one connection may leave unanswered at a time.
const MOST: usize = 32;
/// How long an answer may take, unless the question says otherwise.
const WITHIN: Duration = Duration::from_secs(10);

/// The questions of one connection. Nothing is kept by one that is never asked.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    /// Whether there ever was one: asked for every message, without the lock.
    asked: AtomicBool,
    state: Mutex<Option<Box<Asked>>>,
}

#[derive(Debug, Default)]
struct Asked {
    last: u64,
    open: HashMap<u64, oneshot::Sender<Answered>>,
}

/// What a client says to a question.
type Answered = Result<Box<RawValue>, Refused>;

#[derive(Debug, Deserialize)]
struct Refused {
    code: String,
    message: String,
}

impl Questions {
    /// Whether this message is the answer to a question; then it goes to whoever has asked. One that comes too late
    /// goes nowhere.
    pub(super) fn take_answer(&self, frame: Frame<'_>, syntax: Syntax) -> bool {
        if !self.asked.load(Ordering::Acquire) {
            return false;
        }
        // Most requests have no such text: they are not parsed here and once more where they are handled.
        let may_answer = |text: &&str| text.contains("\"result\"") || text.contains("\"error\"");
        let text = std::str::from_utf8(frame.as_bytes()).ok().filter(may_answer);
        let Some((id, answered)) = text.and_then(|text| read(text, syntax)) else { return false };
        let mut state = self.state();
        let Some(asked) = state.as_mut().filter(|asked| (1..=asked.last).contains(&id)) else { return false };
        if let Some(waiting) = asked.open.remove(&id) {
            // Whoever asked may have stopped waiting.
            let _ = waiting.send(answered);
        }
        true
    }

    /// No answer comes any more: whoever waits for one is told.
    pub(crate) fn close(&self) {
        if self.asked.load(Ordering::Acquire)
            && let Some(asked) = &mut *self.state()
        {
            asked.open.clear();
        }
    }

    fn ask(&self) -> Option<(u64, oneshot::Receiver<Answered>)> {
        let mut state = self.state();
        let asked = state.get_or_insert_default();
        if asked.open.len() >= MOST {
            return None;
        }
        asked.last += 1;
        let (answer, answered) = oneshot::channel();
        asked.open.insert(asked.last, answer);
        self.asked.store(true, Ordering::Release);
        Some((asked.last, answered))
    }

    fn forget(&self, id: u64) {
        if let Some(asked) = &mut *self.state() {
            asked.open.remove(&id);
        }
    }

    fn state(&self) -> MutexGuard<'_, Option<Box<Asked>>> {
        // Nothing between lock and unlock can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An answer: an object with an id of ours, without a route, and with a result or an error.
fn read(text: &str, syntax: Syntax) -> Option<(u64, Answered)> {
    let mut members: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_str(text).ok()?;
    if members.contains_key(syntax.key()) {
        return None;
    }
    let id = members.get("id")?.get().parse().ok()?;
    if let Some(result) = members.remove("result") {
        return Some((id, Ok(result.to_owned())));
    }
    let refused = serde_json::from_str(members.get("error")?.get()).ok()?;
    Some((id, Err(refused)))
}

/// A question to a client, asked when it is awaited: made by [`Connection::ask`].
#[must_use = "a question is asked when it is awaited"]
pub struct Ask<'a, R, S = ()> {
    connection: &'a Connection<S>,
    encode: Box<dyn FnOnce(u64) -> serde_json::Result<Bytes> + Send + 'a>,
    within: Duration,
    reply: PhantomData<fn() -> R>,
}

impl<'a, R, S> Ask<'a, R, S> {
    pub(super) fn new(connection: &'a Connection<S>, push: &'a (impl Push + Sync + ?Sized)) -> Self {
        let syntax = *connection.shared.syntax;
        let encode = Box::new(move |id| push::encode_question(push, syntax, id));
        Self { connection, encode, within: WITHIN, reply: PhantomData }
    }

    /// How long the answer may take: 10 s unless it is said here. A handler has a
    /// [limit of its own](crate::Server::handle_within).
    pub fn within(self, limit: Duration) -> Self {
        Self { within: limit, ..self }
    }
}

impl<R, S> fmt::Debug for Ask<'_, R, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask").field("within", &self.within).finish_non_exhaustive()
    }
}

impl<'a, R, S> IntoFuture for Ask<'a, R, S>
where
    R: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Output = Result<R, AskError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { connection, encode, within, .. } = self;
        Box::pin(async move {
            let questions = &connection.shared.questions;
            let (id, answered) = questions.ask().ok_or(AskError::TooMany)?;
            let _open = Open { questions, id };
            let frame = encode(id).map_err(SendError::from)?;
            connection.queue(frame, None)?;
            let answered = timeout(within, answered).await.map_err(|_| AskError::TimedOut)?;
            let answer = answered.map_err(|_| AskError::Closed)?;
            let result = answer.map_err(|Refused { code, message }| AskError::Refused { code, message })?;
            serde_json::from_str(result.get()).map_err(AskError::Invalid)
        })
    }
}

/// A question that waits for its answer; it waits no more when this is dropped.
struct Open<'q> {
    questions: &'q Questions,
    id: u64,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.questions.forget(self.id);
    }
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// It was not put to the client.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The connection has ended before the answer came.
    #[error("the connection ended before the client answered")]
    Closed,
    /// The client took too long.
    #[error("the client did not answer in time")]
    TimedOut,
    /// 32 questions wait for this client's answers already.
    #[error("the client has {MOST} questions to answer already")]
    TooMany,
    /// The client answers with an error.
    #[error("the client refused: {message} ({code})")]
    Refused {
        /// The code of the error.
        code: String,
        /// Its message.
        message: String,
    },
    /// The answer does not fit the type that was asked for.
    #[error("the client's answer does not fit")]
    Invalid(#[source] serde_json::Error),
}

impl From<AskError> for Error {
    /// `timeout` when the client took too long, `not_answered` when it refused or its answer does not fit; `internal`
    /// otherwise. Who is told may be another client than the one that was asked, whose words are not passed on.
    fn from(error: AskError) -> Self {
        match error {
            AskError::TimedOut => Self::new("timeout", error.to_string()),
            AskError::Refused { .. } | AskError::Invalid(_) => {
                Self::new("not_answered", "the client that was asked gave no answer")
            }
            AskError::Send(error) => error.into(),
            AskError::Closed => SendError::Closed.into(),
            AskError::TooMany => Self::internal(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_from_a_request() {
        let answer = |text| read(text, Syntax::DEFAULT).map(|(id, answered)| (id, answered.is_ok()));
        assert_eq!(answer(r#"{"id":1,"result":{"any":"thing"}}"#), Some((1, true)));
        assert_eq!(answer(r#"{"result":null,"other":[],"id":2}"#), Some((2, true)));
        assert_eq!(answer(r#"{"id":3,"error":{"code":"no","message":"never"}}"#), Some((3, false)));
        for text in [
            r#"{"id":1,"method":"chat","result":1}"#,
            r#"{"id":"1","result":1}"#,
            r#"{"id":1}"#,
            r#"{"result":1}"#,
            r#"{"id":1,"error":"no"}"#,
            r#"{"id":1,"result":1"#,
            "[1]",
        ] {
            assert_eq!(answer(text), None, "{text}");
        }
    }
}
