//! Whether the bus still delivers: a node publishes echoes to itself.

use std::time::Duration;

use tokio::time::Instant;

/// How long an echo may take. After that the connection to the bus is dropped, together with the messages that wait in
/// it.
const ECHO_TIMEOUT: Duration = Duration::from_secs(5);

/// The echoes of a connection to the bus.
pub(super) struct Echoes {
    /// When the last one came, or when the connection was made.
    last: Instant,
    /// How many were published since then.
    missing: u32,
}

impl Echoes {
    pub(super) fn new() -> Self {
        Self { last: Instant::now(), missing: 0 }
    }

    /// Records that an echo is published.
    pub(super) fn sent(&mut self) {
        self.missing += 1;
    }

    /// Records that an echo came.
    pub(super) fn came(&mut self) {
        *self = Self::new();
    }

    /// Whether echoes are lost. This is asked before each echo is published. A single one that is missing may have come
    /// while this process stood still, and is not read yet. Until the next question it is read.
    pub(super) fn are_lost(&self) -> bool {
        self.missing > 1 && self.last.elapsed() > ECHO_TIMEOUT
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_echo_that_comes_is_not_lost_however_seldom_one_is_published() {
        let mut echoes = Echoes::new();
        for _ in 0..3 {
            advance(ECHO_TIMEOUT * 2).await;
            assert!(!echoes.are_lost());
            echoes.sent();
            echoes.came();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_echo_that_came_while_the_process_stood_still_is_not_lost() {
        let mut echoes = Echoes::new();
        echoes.sent();
        advance(ECHO_TIMEOUT * 2).await;
        assert!(!echoes.are_lost());
        echoes.sent();
        echoes.came();
        advance(ECHO_TIMEOUT * 2).await;
        assert!(!echoes.are_lost());
    }

    #[tokio::test(start_paused = true)]
    async fn echoes_that_do_not_come_are_lost_after_the_timeout() {
        let mut echoes = Echoes::new();
        for _ in 0..2 {
            echoes.sent();
            advance(ECHO_TIMEOUT / 2).await;
        }
        assert!(!echoes.are_lost(), "not before the timeout");
        advance(Duration::from_millis(1)).await;
        assert!(echoes.are_lost());
    }
}
