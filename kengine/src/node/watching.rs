//! The watch of a node: one task wakes the connections whose silence must be checked, and ends those whose sessions
//! have expired. A timer for each connection would take 128 bytes of every idle player, and cost something for each
//! message.

use std::sync::{Arc, Weak};

use tokio::time::{Duration, sleep};

use crate::node::Node;
use crate::node_state::sync::Notify;
use crate::node_state::sync::atomic::Ordering;
use crate::node_state::{CHECKS, Users, nanoseconds};

/// How many times at most the watch looks at a connection between two checks of its silence. So a check is late by at
/// most this part of the time between two checks: 1.25 s of an idle timeout of a minute.
const LOOKS: u64 = 16;

/// A running watch.
struct Watch {
    node: Weak<Node>,
    expiry_added: Arc<Notify>,
    has_ended: bool,
}

impl Node {
    /// Starts the watch unless it runs. It ends when there is no connection.
    pub(super) fn watch(self: &Arc<Self>) {
        if !self.is_watching.swap(true, Ordering::AcqRel) {
            let expiry_added = Arc::clone(&self.expiry_added);
            self.spawn(Watch { node: Arc::downgrade(self), expiry_added, has_ended: false }.run());
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
            let expiry = node.end_expired().await.unwrap_or(Duration::MAX);
            let look = looks.into_iter().min().unwrap_or_default().saturating_sub(node.clock.now());
            drop(node);
            tokio::select! {
                () = sleep(expiry.min(Duration::from_nanos(look))) => {}
                () = self.expiry_added.notified() => {}
            }
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

#[cfg(all(test, not(kengine_model)))]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::{Context, Wake, Waker};
    use std::time::SystemTime;

    use tokio::runtime::Handle;
    use tokio::time::advance;

    use super::*;
    use crate::cluster::alone::Alone;
    use crate::node::admission::Registration;
    use crate::node_state::{BareConnection, Clock, Duplicates, ExtendError, Limits, Recipient};

    /// Counts how often a task is woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A connection without a socket, which is woken like the task of one.
    struct Player {
        recipient: Arc<dyn Recipient>,
        woken: Arc<Woken>,
    }

    impl Player {
        fn join(node: &Arc<Node>, id: u64) -> Self {
            let recipient = BareConnection::create(id, &format!("player {id}"));
            recipient.state().silence.start(node.clock.now());
            node.users.claim(Arc::clone(&recipient), Duplicates::Allow);
            let player = Self { recipient, woken: Arc::default() };
            player.sleep(node);
            node.watch();
            player
        }

        /// Registers the task to be woken.
        fn sleep(&self, node: &Node) {
            let waker = Waker::from(Arc::clone(&self.woken));
            let outbox = &self.recipient.state().outbox;
            outbox.take(&mut Context::from_waker(&waker), &mut Vec::new(), &node.fan_out.backlog, |_| false);
        }

        fn leave(&self, node: &Node) {
            node.users.release(&self.recipient.state().uid, self.recipient.state().id);
        }

        fn wakes(&self) -> usize {
            self.woken.0.load(Ordering::SeqCst)
        }
    }

    fn node() -> Arc<Node> {
        Node::new(Limits::default(), Vec::new(), Vec::new(), &Alone, None, String::new()).unwrap()
    }

    async fn pass(duration: Duration) {
        advance(duration).await;
        tokio::task::yield_now().await;
    }

    #[tokio::test(start_paused = true)]
    async fn only_silent_connections_are_woken_and_not_at_once() {
        let node = node();
        let players: Vec<_> = (1..=200).map(|id| Player::join(&node, id)).collect();
        let (interval, step) = (node.limits.idle_timeout / CHECKS, Duration::from_millis(10));
        let mut passed = Duration::ZERO;
        let mut at_once = 0;
        while passed < interval + interval / 16 + step {
            let before: usize = players.iter().map(Player::wakes).sum();
            pass(step).await;
            passed += step;
            let woken = players.iter().map(Player::wakes).sum::<usize>() - before;
            assert!(woken == 0 || passed >= interval, "woken after {passed:?}");
            at_once = at_once.max(woken);
            for player in &players[..100] {
                player.recipient.state().silence.record_input(node.clock.now());
            }
        }
        assert!(players[..100].iter().all(|player| player.wakes() == 0), "a client that is heard was woken");
        assert!(players[100..].iter().all(|player| player.wakes() == 1), "a silent client was not woken once");
        assert!(at_once < 50, "{at_once} of 100 were woken at once");
        for player in &players {
            player.leave(&node);
        }
        pass(2 * interval).await;
        assert!(!node.is_watching.load(Ordering::SeqCst), "the watch goes on without connections");
        let late = Player::join(&node, 201);
        pass(2 * interval).await;
        assert_eq!(late.wakes(), 1, "the watch does not start again");
    }

    /// A connection without a socket whose session expires.
    fn join_until(node: &Arc<Node>, id: u64, at: SystemTime) -> (Registration, Arc<dyn Recipient>) {
        let recipient = BareConnection::create(id, &format!("player {id}"));
        let mut slot = node.take_slot(None, None, false).expect("a node without limits");
        slot.set_expiry(Some(at));
        let (registration, has_uid) = slot.register(Arc::clone(&recipient));
        assert!(has_uid);
        registration.watch();
        (registration, recipient)
    }

    #[tokio::test(start_paused = true)]
    async fn one_task_ends_ten_thousand_sessions_within_a_second_of_their_times() {
        const STEP: Duration = Duration::from_millis(100);
        let limits = Limits { max_connections: usize::MAX, ..Limits::default() };
        let node = Node::new(limits, Vec::new(), Vec::new(), &Alone, None, String::new()).unwrap();
        // They expire within 20 s, in another order than that in which they come. The watch sleeps when they come.
        let silent = Player::join(&node, 0);
        pass(STEP).await;
        let start = (0..100).map(|_| Clock::system_time()).max().unwrap();
        let after = |id: u64| Duration::from_millis(1000 + id * 7919 % 20_000);
        let players: Vec<_> = (1..=10_000).map(|id| join_until(&node, id, start + after(id))).collect();
        let is_extended = |id: u64| id.is_multiple_of(3);
        let until = start + Duration::from_secs(60);
        for (_, player) in players.iter().filter(|(_, player)| is_extended(player.state().id.0)) {
            node.extend(player.state(), until).unwrap();
        }
        assert_eq!(Handle::current().metrics().num_alive_tasks(), 1);
        let mut passed = Duration::ZERO;
        while passed < Duration::from_secs(22) {
            pass(STEP).await;
            passed += STEP;
            for (_, player) in &players {
                let (id, has_ended) = (player.state().id.0, player.state().outbox.is_ending());
                let may_end = !is_extended(id) && passed + STEP >= after(id);
                let must_end = !is_extended(id) && passed >= after(id) + Duration::from_secs(1);
                assert!(has_ended || !must_end, "{id} has not ended {passed:?} after the start");
                assert!(may_end || !has_ended, "{id} has ended {passed:?} after the start");
            }
        }
        let (_, ended) = &players[0];
        assert_eq!(node.extend(ended.state(), until), Err(ExtendError::Closed));
        let (_, extended) = &players[2];
        assert_eq!(node.expiry(extended.state()), Some(until));
        assert!(!silent.recipient.state().outbox.is_ending());
        drop(players);
        assert_eq!(node.expiries.next(), None, "sessions are kept after their connections have ended");
    }

    #[test]
    fn connections_are_woken_when_the_runtime_of_the_watch_ends() {
        let node = node();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let player = runtime.block_on(async { Player::join(&node, 1) });
        drop(runtime);
        assert!(!node.is_watching.load(Ordering::SeqCst));
        assert_eq!(player.wakes(), 1);
        assert!(
            player.recipient.state().outbox.take_reminder(),
            "it has to check its silence, and starts a watch then"
        );
    }
}
