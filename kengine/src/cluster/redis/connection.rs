//! Connections to Redis with timeouts, and the pauses between attempts to connect.

use std::{io, time::Duration};

use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult, aio::MultiplexedConnection};
use tokio::time::{sleep, timeout};

/// How long connecting or one command may take.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
/// The first pause before another attempt to connect. Each further pause is twice as long.
const MIN_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause before another attempt to connect.
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// Opens a connection for commands.
pub(super) async fn connect(client: &Client) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(RESPONSE_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT));
    client.get_multiplexed_async_connection_with_config(&config).await
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
