//! Counts and logs what was refused because of limits: at most one line per second for each limit.

use std::convert::Infallible;
use std::fmt::Display;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::node_state::recipient::ConnectionId;
use crate::node_state::sync::{Mutex, Notify};

/// The minimum time between two lines about the same limit.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// A limit beyond which clients are refused, cut off or closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Connections,
    ConnectionsPerAddress,
    HandshakesPerSecond,
    HandshakesPerSecondPerAddress,
    PendingHandshakes,
    PendingHandshakesPerAddress,
    OperatorSockets,
    /// The limit of open files, and whatever else keeps the kernel from accepting a socket.
    OpenFiles,
    MessagesPerSecond,
    BytesPerSecond,
    PingsPerSecond,
    FragmentsPerMessage,
    JoinsPerSecond,
    Rooms,
    GameLoops,
    GameLoopQueue,
    GameLoopSavedSize,
    TotalOutboxSize,
}

impl Limit {
    const ALL: [Self; 18] = [
        Self::Connections,
        Self::ConnectionsPerAddress,
        Self::HandshakesPerSecond,
        Self::HandshakesPerSecondPerAddress,
        Self::PendingHandshakes,
        Self::PendingHandshakesPerAddress,
        Self::OperatorSockets,
        Self::OpenFiles,
        Self::MessagesPerSecond,
        Self::BytesPerSecond,
        Self::PingsPerSecond,
        Self::FragmentsPerMessage,
        Self::JoinsPerSecond,
        Self::Rooms,
        Self::GameLoops,
        Self::GameLoopQueue,
        Self::GameLoopSavedSize,
        Self::TotalOutboxSize,
    ];

    /// Returns the name of the setter on `Server`, if there is one.
    fn name(self) -> &'static str {
        match self {
            Self::Connections => "max_connections",
            Self::ConnectionsPerAddress => "max_connections_per_address",
            Self::HandshakesPerSecond => "max_handshakes_per_second",
            Self::HandshakesPerSecondPerAddress => "max_handshakes_per_second_per_address",
            Self::PendingHandshakes => "max_pending_handshakes",
            Self::PendingHandshakesPerAddress => "max_pending_handshakes_per_address",
            Self::OperatorSockets => "operator_sockets",
            Self::OpenFiles => "open_files",
            Self::MessagesPerSecond => "max_messages_per_second",
            Self::BytesPerSecond => "max_bytes_per_second",
            Self::PingsPerSecond => "max_pings_per_second",
            Self::FragmentsPerMessage => "max_fragments_per_message",
            Self::JoinsPerSecond => "max_joins_per_second",
            Self::Rooms => "max_rooms",
            Self::GameLoops => "max_game_loops",
            Self::GameLoopQueue => "max_game_loop_queue",
            Self::GameLoopSavedSize => "max_game_loop_saved_size",
            Self::TotalOutboxSize => "max_total_outbox_size",
        }
    }

    /// Returns what has happened, and what the operator can do.
    fn line(self) -> &'static str {
        match self {
            Self::Connections => "the node is full; handshakes were refused",
            Self::HandshakesPerSecond => "there are too many handshakes; some were refused",
            Self::PendingHandshakes => "too many clients have not completed their handshakes; the oldest were cut off",
            Self::OperatorSockets => {
                "too many sockets are open at the address of `Server::operate`; the oldest were cut off"
            }
            Self::OpenFiles => {
                "no more sockets can be opened; clients wait or were closed, and the oldest handshakes were cut off"
            }
            Self::ConnectionsPerAddress | Self::HandshakesPerSecondPerAddress | Self::PendingHandshakesPerAddress => {
                "a client address has reached its limit and was refused; if it is a proxy, name it with \
                 `Server::trusted_proxies`"
            }
            Self::MessagesPerSecond | Self::BytesPerSecond => {
                "a client sends too much; messages were refused, or the connection was closed"
            }
            Self::PingsPerSecond => "a client sends too many pings; the connection was closed",
            Self::FragmentsPerMessage => "a client sent a message of too many fragments; the connection was closed",
            Self::JoinsPerSecond => "a connection joins rooms too often; joins were refused",
            Self::Rooms => "the node has too many rooms; joins that need another one were refused",
            Self::GameLoops => "the node has too many game loops; further rooms have none on this node",
            Self::GameLoopQueue => "a game loop is too slow for its messages; some were refused",
            Self::GameLoopSavedSize => "a game loop saves too much; what it saved before is kept",
            Self::TotalOutboxSize => {
                "clients do not read, and what waits for all of them is too much; the connections with the largest \
                 backlogs were closed"
            }
        }
    }
}

/// What was refused because of each limit.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// In the order of `Limit::ALL`.
    tallies: [Mutex<Tally>; Limit::ALL.len()],
    /// When the next line is due, if there may be refusals that no line has counted.
    report_at: Mutex<Option<Instant>>,
    /// Notified when a line becomes due.
    has_unlogged: Notify,
}

#[derive(Debug, Default)]
struct Tally {
    total: u64,
    unlogged: u64,
    logged_at: Option<Instant>,
}

impl Tally {
    /// Returns what the next line must count, if it is time for one.
    fn take_unlogged(&mut self) -> Option<u64> {
        let now = Instant::now();
        let is_due = self.logged_at.is_none_or(|logged_at| now.duration_since(logged_at) >= LINE_INTERVAL);
        if self.unlogged == 0 || !is_due {
            return None;
        }
        self.logged_at = Some(now);
        Some(std::mem::take(&mut self.unlogged))
    }
}

impl Refusals {
    /// Counts a refusal of something that a connection sent, as [`record`](Self::record) does.
    pub(crate) fn record_connection(&self, limit: Limit, id: ConnectionId) {
        self.record(limit, &format_args!("connection {id}"));
    }

    /// Counts one refusal, and logs it unless the last line about this limit is less than a second old. `last` is the
    /// client, or the error.
    pub(crate) fn record(&self, limit: Limit, last: &dyn Display) {
        let mut tally = self.tallies[limit as usize].lock();
        tally.total += 1;
        tally.unlogged += 1;
        let unlogged = tally.take_unlogged();
        drop(tally);
        match unlogged {
            Some(count) => {
                let last = last.to_string();
                tracing::warn!(limit = limit.name(), count, last, "{}", limit.line());
            }
            None => self.report_later(),
        }
    }

    /// Logs the refusals that no line has counted, within a second. Never returns, and may be dropped at any time. Only
    /// a server that listens runs this. In a mounted service the next line about the limit counts them.
    pub(crate) async fn keep_reporting(&self) -> Infallible {
        loop {
            match self.report_at() {
                Some(at) => {
                    sleep_until(at).await;
                    self.report();
                }
                None => self.has_unlogged.notified().await,
            }
        }
    }

    fn report_later(&self) {
        self.report_at.lock().get_or_insert_with(|| {
            self.has_unlogged.notify_one();
            Instant::now() + LINE_INTERVAL
        });
    }

    /// Returns when the next line is due, if there may be refusals that no line has counted.
    pub(super) fn report_at(&self) -> Option<Instant> {
        *self.report_at.lock()
    }

    /// Logs the refusals that no line has counted, unless the last line about the limit is less than a second old.
    pub(super) fn report(&self) {
        *self.report_at.lock() = None;
        for (limit, tally) in Limit::ALL.into_iter().zip(&self.tallies) {
            let mut tally = tally.lock();
            let unlogged = tally.take_unlogged();
            let is_late = tally.unlogged > 0;
            drop(tally);
            if is_late {
                self.report_later();
            }
            if let Some(count) = unlogged {
                tracing::warn!(limit = limit.name(), count, "{}", limit.line());
            }
        }
    }

    /// Returns the name of each limit, and how many it has refused.
    pub(crate) fn totals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Limit::ALL.into_iter().zip(&self.tallies).map(|(limit, tally)| (limit.name(), tally.lock().total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_has_happened_and_to_whom() {
        for line in Limit::ALL.map(Limit::line) {
            assert!(line.split("; ").count() > 1, "{line}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_limit_has_a_line_per_second_with_a_count() {
        let mut tally = Tally::default();
        let refuse = |times: usize, tally: &mut Tally| -> Vec<u64> {
            let lines = (0..times).filter_map(|_| {
                tally.unlogged += 1;
                tally.take_unlogged()
            });
            lines.collect()
        };
        assert_eq!(refuse(1000, &mut tally), [1]);
        tokio::time::advance(Duration::from_millis(999)).await;
        assert_eq!(refuse(1, &mut tally), [0; 0]);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(tally.take_unlogged(), Some(1000));
        assert_eq!(tally.take_unlogged(), None);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(tally.take_unlogged(), None, "a line that counts nothing");
        assert_eq!(refuse(2, &mut tally), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_line_has_counted_is_reported_within_a_second() {
        let refusals = Refusals::default();
        refusals.record(Limit::Connections, &"a client");
        assert_eq!(refusals.report_at(), None, "the first refusal has a line");
        refusals.record(Limit::Connections, &"a client");
        let due = Instant::now() + LINE_INTERVAL;
        tokio::time::advance(LINE_INTERVAL / 2).await;
        refusals.record(Limit::Connections, &"a client");
        refusals.record(Limit::PendingHandshakes, &"another client");
        assert_eq!(refusals.report_at(), Some(due));
        tokio::time::advance(LINE_INTERVAL / 2).await;
        refusals.record(Limit::PendingHandshakes, &"another client");
        refusals.report();
        assert!(refusals.report_at().is_some_and(|at| at > due), "the other limit is not due yet");
        tokio::time::advance(LINE_INTERVAL).await;
        refusals.report();
        assert_eq!(refusals.report_at(), None);
        let totals: Vec<_> = refusals.totals().filter(|(_, total)| *total > 0).collect();
        assert_eq!(totals, [("max_connections", 3), ("max_pending_handshakes", 2)]);
    }
}
