//! A question that the server asks a client.

use std::{fmt, future::IntoFuture, marker::PhantomData, time::Duration};

use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::handles::connection::Connection;
use crate::node_state::{BoxFuture, ClientError, MAX_QUESTIONS, SendError};
use crate::protocol::resumption::KeyedFrame;
use crate::protocol::{Error, Push, push};

/// How long an answer may take by default.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// A question to a client, returned by [`Connection::ask`]. It is sent when it is awaited.
#[must_use = "a question is sent when it is awaited"]
pub struct Ask<'a, R, S = ()> {
    connection: &'a Connection<S>,
    encode: Box<dyn FnOnce(u64) -> serde_json::Result<Vec<u8>> + Send + 'a>,
    timeout: Duration,
    reply: PhantomData<fn() -> R>,
}

impl<S> Connection<S> {
    /// Asks the client a question: sends a push, and waits for the client's answer, an `R`.
    ///
    /// ```
    /// use kengine::{Connection, Error, Push};
    ///
    /// #[derive(serde::Serialize, Push)]
    /// struct Trade {
    ///     offers: &'static str,
    /// }
    ///
    /// async fn offer(connection: &Connection) -> Result<bool, Error> {
    ///     Ok(connection.ask::<bool>(&Trade { offers: "a sword" }).await?)
    /// }
    /// ```
    ///
    /// The client gets `{"id":1,"method":"trade","message":{"offers":"a sword"}}`, with an id that the server chooses,
    /// and answers `{"id":1,"result":true}` or `{"id":1,"error":{"code":"…","message":"…"}}`. The answer overtakes
    /// requests that the client sent earlier and that wait for the running handler, so a handler may ask its own
    /// client.
    ///
    /// # Errors
    ///
    /// [`AskError::TimedOut`](crate::push::AskError::TimedOut) if the client does not answer within 10 s or the given
    /// [timeout](Ask::timeout), [`AskError::Refused`](crate::push::AskError::Refused) if it answers with an error,
    /// [`AskError::Invalid`](crate::push::AskError::Invalid) if its answer is not an `R`, and
    /// [`AskError::Closed`](crate::push::AskError::Closed) if the connection ends before the answer. The other errors
    /// mean that the question was not sent.
    pub fn ask<'a, R>(&'a self, push: &'a (impl Push + Sync + ?Sized)) -> Ask<'a, R, S> {
        let syntax = *self.state().syntax;
        let encode = Box::new(move |id| push::encode(push, syntax, Some(id)));
        Ask { connection: self, encode, timeout: DEFAULT_TIMEOUT, reply: PhantomData }
    }
}

impl<R, S> Ask<'_, R, S> {
    /// Sets how long the answer may take. The default is 10 s. A handler also has its own
    /// [limit](crate::Server::handler_timeout).
    pub fn timeout(self, limit: Duration) -> Self {
        Self { timeout: limit, ..self }
    }
}

impl<R, S> fmt::Debug for Ask<'_, R, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl<'a, R, S> IntoFuture for Ask<'a, R, S>
where
    R: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Output = Result<R, AskError>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { connection, encode, timeout: limit, .. } = self;
        Box::pin(async move {
            let mut question = connection.state().questions.open().ok_or(AskError::TooMany)?;
            let frame = encode(question.id).map_err(SendError::from)?;
            connection.queue(KeyedFrame::own(frame, None))?;
            let answer = timeout(limit, &mut question.answer).await.map_err(|_| AskError::TimedOut)?;
            let result = answer
                .map_err(|_| AskError::Closed)?
                .map_err(|ClientError { code, message }| AskError::Refused { code, message })?;
            serde_json::from_str(result.get()).map_err(AskError::Invalid)
        })
    }
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The question could not be sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The connection ended before the answer came.
    #[error("the connection ended before the client answered")]
    Closed,
    /// The client took too long.
    #[error("the client did not answer in time")]
    TimedOut,
    /// The client already has 32 questions to answer.
    #[error("the client already has {MAX_QUESTIONS} questions to answer")]
    TooMany,
    /// The client answered with an error.
    #[error("the client refused: {message} ({code})")]
    Refused {
        /// The code of the error.
        code: String,
        /// The message of the error.
        message: String,
    },
    /// The answer does not fit the expected type.
    #[error("the client's answer does not fit the expected type")]
    Invalid(#[source] serde_json::Error),
}

impl From<AskError> for Error {
    /// Becomes `timeout` if the client took too long, `not_answered` if it refused or its answer does not fit, and
    /// otherwise `internal`. The client that gets this error may not be the client that was asked, so it does not get
    /// the text of the asked client's error.
    fn from(error: AskError) -> Self {
        match error {
            AskError::TimedOut => Self::new("timeout", error.to_string()),
            AskError::Refused { .. } | AskError::Invalid(_) => {
                Self::new("not_answered", "the client that was asked refused, or its answer is invalid")
            }
            AskError::Send(error) => error.into(),
            AskError::Closed => SendError::Closed.into(),
            AskError::TooMany => Self::internal(error),
        }
    }
}
