//! The watch for silent clients: one task per node wakes the connections whose silence must be checked. A timer for each
//! connection would take 128 bytes of every idle player, and cost something for each message.

use std::sync::{Arc, Weak};

use tokio::time::{Duration, sleep};

use crate::node::Node;
use crate::node_state::sync::atomic::Ordering;
use crate::node_state::{CHECKS, Users, nanoseconds};

/// How many times at most the watch looks at a connection between two checks of its silence. So a check is late by at most
/// this part of the time between two checks: 1.25 s of an idle timeout of a minute.
const LOOKS: u64 = 16;

/// A running watch.
struct Watch {
    node: Weak<Node>,
    has_ended: bool,
}

impl Node {
    /// Starts the watch unless it runs. It ends when there is no connection.
    pub(super) fn watch_silence(self: &Arc<Self>) {
        if !self.is_watching.swap(true, Ordering::AcqRel) {
            tokio::spawn(Watch { node: Arc::downgrade(self), has_ended: false }.run());
        }
    }

    /// Wakes the connections of one shard whose silence must be checked. Returns when the watch must look at the shard
    /// again, and whether it has woken any.
    fn look(&self, shard: usize, now: u64) -> (u64, bool) {
        let interval = nanoseconds(self.limits.idle_timeout / CHECKS);
        let mut due = Vec::new();
        // No connection that starts meanwhile is due before.
        let mut next = now.saturating_add(interval);
        self.users.for_each_of_shard(shard, |recipient| {
            let at = recipient.state().silence.due_at(self.limits.idle_timeout);
            if at <= now {
                due.push(Arc::clone(recipient));
            } else {
                next = next.min(at);
            }
        });
        if !due.is_empty() {
            // Their next checks are not known before their tasks have run.
            next = now + 1;
        }
        for recipient in &due {
            recipient.state().outbox.remind();
        }
        (self.on_grid(shard, next), !due.is_empty())
    }

    /// Returns the first time from `next` on at which the watch looks at this shard. The times of the shards differ, so
    /// that players who have connected at the same time are not woken at the same time.
    fn on_grid(&self, shard: usize, next: u64) -> u64 {
        let step = (nanoseconds(self.limits.idle_timeout / CHECKS) / LOOKS).max(1);
        let offset = step * shard as u64 / Users::SHARDS as u64;
        (next.saturating_sub(offset)).div_ceil(step).saturating_mul(step).saturating_add(offset)
    }
}

impl Watch {
    async fn run(mut self) {
        // When each shard is looked at next.
        let mut looks = [0; Users::SHARDS];
        while let Some(node) = self.node.upgrade() {
            for (shard, at) in looks.iter_mut().enumerate() {
                let now = node.clock.now();
                if *at <= now {
                    let (next, has_woken) = node.look(shard, now);
                    *at = next;
                    if has_woken {
                        // Other tasks run before more are woken.
                        tokio::task::yield_now().await;
                    }
                }
            }
            if node.users.is_empty() {
                // A swap instead of a store, so that the connections are seen that have found this watch running.
                node.is_watching.swap(false, Ordering::AcqRel);
                if node.users.is_empty() || node.is_watching.swap(true, Ordering::AcqRel) {
                    self.has_ended = true;
                    return;
                }
            }
            let next = looks.into_iter().min().unwrap_or_default().saturating_sub(node.clock.now());
            drop(node);
            sleep(Duration::from_nanos(next)).await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The runtime ends. Connections on another one check their silence now, and one of them starts the next watch.
        if !self.has_ended
            && let Some(node) = self.node.upgrade()
        {
            node.is_watching.swap(false, Ordering::AcqRel);
            node.users.for_each(|recipient| recipient.state().outbox.remind());
        }
    }
}
