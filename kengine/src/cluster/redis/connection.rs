//! Connections to Redis with timeouts, and the pauses between attempts to connect.

use std::{io, pin::pin, time::Duration};

use redis::aio::{ConnectionLike, MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, RedisResult, Value};
use tokio::time::{sleep, timeout};

/// How long connecting or one command may take.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
/// In how many parts [`within`] waits.
const PARTS: u32 = 10;
/// The first pause before another attempt to connect. Each further pause is twice as long.
const MIN_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause before another attempt to connect.
const MAX_PAUSE: Duration = Duration::from_millis(500);
/// How many characters of the password an error must contain to count as quoting it. Servers cut off long arguments.
const QUOTED_LEN: usize = 16;

/// A connection for commands. Redis must answer each within [`RESPONSE_TIMEOUT`].
#[derive(Clone)]
pub(super) struct CommandConnection(MultiplexedConnection);

impl ConnectionLike for CommandConnection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(within_timeout(self.0.req_packed_command(command)))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(within_timeout(self.0.req_packed_commands(pipeline, offset, count)))
    }

    fn get_db(&self) -> i64 {
        self.0.get_db()
    }
}

/// Opens a connection for commands.
pub(super) async fn connect(client: &Client) -> RedisResult<CommandConnection> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let connected = within_timeout(client.get_multiplexed_async_connection_with_config(&config)).await;
    connected.map(CommandConnection).map_err(|error| without_password(error, client))
}

/// Opens a connection that receives what is published.
pub(super) async fn connect_subscriber(client: &Client) -> RedisResult<PubSub> {
    let connected = within_timeout(client.get_async_pubsub()).await;
    connected.map_err(|error| without_password(error, client))
}

/// Replaces an error that quotes the password, because errors are logged. A server that does not know `AUTH` or `HELLO`
/// quotes their arguments.
fn without_password(error: RedisError, client: &Client) -> RedisError {
    let password = client.get_connection_info().redis_settings().password().unwrap_or_default();
    let start: String = password.chars().take(QUOTED_LEN).collect();
    if !start.is_empty() && error.detail().is_some_and(|detail| detail.contains(&start)) {
        let reason = "the server refuses to log in; its answer is left out, because it quotes the password";
        return (ErrorKind::AuthenticationFailed, reason).into();
    }
    error
}

/// Applies [`RESPONSE_TIMEOUT`] to a call.
pub(super) async fn within_timeout<T>(call: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    within(RESPONSE_TIMEOUT, call).await.unwrap_or_else(|| Err(lost("Redis does not answer")))
}

/// Waits for the answer of another process, but only for this time, and returns `None` after it. If this process stands
/// still meanwhile, the answer may have arrived but is not read yet, so such a pause counts as one of [`PARTS`] parts.
pub(super) async fn within<T>(limit: Duration, answer: impl Future<Output = T>) -> Option<T> {
    let mut answer = pin!(answer);
    for _ in 0..PARTS {
        if let Ok(answer) = timeout(limit / PARTS, &mut answer).await {
            return Some(answer);
        }
    }
    None
}

/// Returns the error of a connection that does not work any more.
pub(super) fn lost(reason: &'static str) -> RedisError {
    io::Error::new(io::ErrorKind::TimedOut, reason).into()
}

/// The pause before the next attempt to connect.
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn new() -> Self {
        Self(MIN_PAUSE)
    }

    pub(super) async fn wait(&mut self) {
        sleep(self.0).await;
        self.0 = (self.0 * 2).min(MAX_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(url: &str, detail: &str) -> String {
        let error = RedisError::from((ErrorKind::Client, "refused", detail.to_owned()));
        without_password(error, &Client::open(url).unwrap()).to_string()
    }

    #[tokio::test]
    async fn an_answer_that_comes_while_the_process_stands_still_is_in_time() {
        let limit = Duration::from_millis(200);
        let slow = async {
            std::thread::sleep(3 * limit);
            // Another task reads the answer.
            tokio::spawn(sleep(Duration::from_millis(1))).await.unwrap();
        };
        assert!(within(limit, slow).await.is_some());
        assert!(within(limit, std::future::pending::<()>()).await.is_none());
    }

    #[test]
    fn only_an_error_that_quotes_the_password_is_replaced() {
        let with_password = "redis://:an-uncommonly-long-password@localhost/";
        for (url, detail, is_replaced) in [
            (with_password, "unknown command `AUTH`, with args: `an-uncommonly-long-passw...", true),
            (with_password, "the database is loading", false),
            ("redis://localhost/", "the database is loading", false),
        ] {
            let shown = shown(url, detail);
            assert_eq!(shown.contains("is left out"), is_replaced, "{shown}");
            assert_eq!(shown.contains(detail), !is_replaced, "{shown}");
        }
    }
}
