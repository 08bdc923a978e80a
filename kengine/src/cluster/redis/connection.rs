//! Connections to Redis with timeouts, and the pauses between attempts to connect.

use std::{io, time::Duration};

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, RedisResult};
use tokio::time::{sleep, timeout};

/// How long connecting or one command may take.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
/// The first pause before another attempt to connect. Each further pause is twice as long.
const MIN_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause before another attempt to connect.
const MAX_PAUSE: Duration = Duration::from_millis(500);
/// How many characters of the password an error must contain to count as quoting it. Servers cut off long arguments.
const QUOTED_LEN: usize = 16;

/// Opens a connection for commands.
pub(super) async fn connect(client: &Client) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(RESPONSE_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT));
    let connected = client.get_multiplexed_async_connection_with_config(&config).await;
    connected.map_err(|error| without_password(error, client))
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

/// Applies [`RESPONSE_TIMEOUT`] to a call that has no timeout itself.
pub(super) async fn within_timeout<T>(call: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    timeout(RESPONSE_TIMEOUT, call).await.unwrap_or_else(|_| Err(lost("Redis does not answer")))
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
