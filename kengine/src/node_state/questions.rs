//! Questions from the server that a client has not answered yet.
//!
//! A question is a push with an id, and its answer carries the same id:
//!
//! ```text
//! {"id":1,"method":"trade","message":{…}}      →
//!                                              ←      {"id":1,"result":true}
//! ```
//!
//! Answers overtake requests that wait for the running handler, because that handler may be waiting for the answer.

use std::borrow::Cow;
use std::collections::HashMap;

use once_cell::race::OnceBox;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use crate::node_state::sync::Mutex;
use crate::protocol::Syntax;
use crate::websocket::Message;

/// How many questions of one connection may be open at a time.
pub(crate) const MAX_QUESTIONS: usize = 32;

/// The open questions of one connection. Uses no memory until the first one.
#[derive(Debug, Default)]
pub(crate) struct Questions(OnceBox<Mutex<AskedQuestions>>);

#[derive(Debug, Default)]
struct AskedQuestions {
    last_id: u64,
    open: HashMap<u64, oneshot::Sender<ClientAnswer>>,
}

/// A client's answer to a question.
pub(crate) type ClientAnswer = Result<Box<RawValue>, ClientError>;

/// The error with which a client answers a question.
#[derive(Debug, Deserialize)]
pub(crate) struct ClientError {
    pub(crate) code: String,
    pub(crate) message: String,
}

impl Questions {
    /// Takes a message if it is the answer to a question, and passes it to the asker. A late answer is dropped. Returns
    /// whether the message was taken.
    #[inline]
    pub(crate) fn take_answer(&self, message: Message<'_>, syntax: &Syntax) -> bool {
        // There is none for most messages.
        self.0.get().is_some_and(|asked| take_answer(asked, message, *syntax))
    }

    /// Ends all questions, because no more answers can come.
    pub(crate) fn close(&self) {
        if let Some(asked) = self.0.get() {
            asked.lock().open.clear();
        }
    }

    /// Returns how many questions were asked, over all nodes that the session was on.
    pub(crate) fn asked(&self) -> u64 {
        self.0.get().map_or(0, |asked| asked.lock().last_id)
    }

    /// Continues after this many questions, so that no late answer to one of them is taken for that to a later one.
    pub(crate) fn go_on_after(&self, asked: u64) {
        if asked > 0 {
            self.0.get_or_init(Box::default).lock().last_id = asked;
        }
    }

    /// Opens a question. Returns `None` if too many are open.
    pub(crate) fn open(&self) -> Option<OpenQuestion<'_>> {
        let questions = self.0.get_or_init(Box::default);
        let mut state = questions.lock();
        if state.open.len() >= MAX_QUESTIONS {
            return None;
        }
        state.last_id += 1;
        let id = state.last_id;
        let (sender, answer) = oneshot::channel();
        state.open.insert(id, sender);
        Some(OpenQuestion { questions, id, answer })
    }
}

/// Passes a message to the asker if it is the answer to one of the questions.
fn take_answer(asked: &Mutex<AskedQuestions>, message: Message<'_>, syntax: Syntax) -> bool {
    // Most requests contain neither word, so they are not parsed twice.
    let may_answer = |text: &&str| text.contains("\"result\"") || text.contains("\"error\"");
    let text = std::str::from_utf8(message.as_bytes()).ok().filter(may_answer);
    let Some((id, answer)) = text.and_then(|text| parse(text, syntax)) else { return false };
    let mut state = asked.lock();
    if !(1..=state.last_id).contains(&id) {
        return false;
    }
    if let Some(asker) = state.open.remove(&id) {
        // The asker may have stopped waiting.
        let _ = asker.send(answer);
    }
    true
}

/// A question that waits for its answer. Dropping it closes the question.
pub(crate) struct OpenQuestion<'q> {
    questions: &'q Mutex<AskedQuestions>,
    pub(crate) id: u64,
    /// Fails if the connection ends before the answer comes.
    pub(crate) answer: oneshot::Receiver<ClientAnswer>,
}

impl Drop for OpenQuestion<'_> {
    fn drop(&mut self) {
        self.questions.lock().open.remove(&self.id);
    }
}

/// Parses an answer: an object with an integer id and with a result or an error, but without a route.
fn parse(text: &str, syntax: Syntax) -> Option<(u64, ClientAnswer)> {
    let mut members: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_str(text).ok()?;
    if members.contains_key(syntax.key()) {
        return None;
    }
    let id = members.get("id")?.get().parse().ok()?;
    if let Some(result) = members.remove("result") {
        return Some((id, Ok(result.to_owned())));
    }
    let error = serde_json::from_str(members.get("error")?.get()).ok()?;
    Some((id, Err(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_distinguished_from_requests() {
        let answer = |text| parse(text, Syntax::DEFAULT).map(|(id, answer)| (id, answer.is_ok()));
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
