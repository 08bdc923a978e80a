//! The drain: every connection ends, and other nodes take the players.

use std::{sync::Arc, task::Waker, time::Duration};

use tokio::time::{interval, timeout};

use crate::node::Node;
use crate::node_state::Ending;
use crate::node_state::deferred_wakes::defer_while;

/// The minimum number of players that are closed in one wave if other nodes must take them. With [`WAVE_INTERVAL`],
/// this is 2,000 players a second.
const WAVE: usize = 20;
/// The time between two waves.
const WAVE_INTERVAL: Duration = Duration::from_millis(10);

impl Node {
    /// Takes no more connections, answers what was read, closes every connection with 4000, and returns when all have
    /// ended. At the deadline, running handlers are cancelled. If there are other nodes, connections are closed in
    /// waves.
    pub(crate) async fn drain(&self) {
        self.admission.lock().ending = Some(Ending::Drain);
        self.loops.drain();
        let drained = async {
            if self.cluster.drain().await {
                self.end_in_waves().await;
            }
            self.end_all(&Ending::Drain);
            self.emptied().await;
        };
        if timeout(self.limits.drain_timeout, drained).await.is_err() {
            let (connections, suspended) = (self.connections(), self.suspended());
            if connections > suspended {
                tracing::warn!(connections, "the drain timed out; cutting off the rest");
            } else {
                tracing::info!(suspended, "the drain ends; some players have not come back");
            }
            self.abandon();
            self.emptied().await;
        }
        self.loops.close().await;
        self.cluster.leave().await;
    }

    /// Cuts off every connection and cancels its handler.
    pub(crate) fn abandon(&self) {
        self.abandoned.send_replace(true);
        self.admission.lock().ending = Some(Ending::Abandon);
        self.end_all(&Ending::Abandon);
    }

    /// Waits until every connection must be cut off.
    pub(crate) async fn abandoned(&self) {
        // Cannot fail: this node owns the sender.
        let _ = self.abandoned.subscribe().wait_for(|abandoned| *abandoned).await;
    }

    /// Waits until there is no connection and no handshake that is being accepted.
    pub(crate) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.connections() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// Ends the registered connections, even those that have ended and whose sockets linger. Later connections take the
    /// ending from `admission`.
    fn end_all(&self, ending: &Ending) {
        defer_while(Waker::noop(), || {
            self.users.for_each_socket(|recipient| _ = recipient.state().outbox.end(ending.clone()));
        });
    }

    /// Drains all connections in waves. The last wave begins after at most half of the drain timeout.
    async fn end_in_waves(&self) {
        let mut recipients = Vec::new();
        self.users.for_each(|recipient| recipients.push(Arc::clone(recipient)));
        let waves = (self.limits.drain_timeout / 2).as_millis() / WAVE_INTERVAL.as_millis();
        let waves = usize::try_from(waves).unwrap_or(usize::MAX).max(1);
        let in_waves = async {
            let mut pause = interval(WAVE_INTERVAL);
            for wave in recipients.chunks(recipients.len().div_ceil(waves).max(WAVE)) {
                pause.tick().await;
                defer_while(Waker::noop(), || {
                    for recipient in wave {
                        recipient.state().outbox.end(Ending::Drain);
                    }
                });
            }
        };
        tokio::select! {
            () = in_waves => {}
            () = self.abandoned() => {}
            () = self.emptied() => {}
        }
    }
}
