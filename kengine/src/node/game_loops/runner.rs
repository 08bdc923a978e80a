//! The task of one game loop: it calls the user's code, one call at a time, while this node has the lease.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use crate::node::Node;
use crate::node::game_loops::entry::{Letter, LoopEnding, LoopEntry, LoopPlan, LoopStatus, ReplyTo, RunnerHandle};
use crate::node_state::deferred_wakes::defer_while;
use crate::node_state::{Limit, LoopDriver, LoopFault, LoopSettings, LoopStart, Tick, call_catching};
use crate::protocol::{Uid, logged};

/// The minimum time between two ticks.
const MIN_TICK: Duration = Duration::from_millis(1);
/// The minimum time between two saves.
const MIN_SAVE_INTERVAL: Duration = Duration::from_millis(100);
/// What stands for a time that never comes: a year, which overflows no clock.
const NEVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The task of one game loop.
pub(super) struct Runner {
    node: Arc<Node>,
    entry: Arc<LoopEntry>,
    settings: LoopSettings,
    handle: Arc<RunnerHandle>,
    letters: mpsc::Receiver<Letter>,
    driver: Box<dyn LoopDriver>,
    /// The users whom the loop knows, on all nodes.
    players: BTreeSet<Uid>,
    /// Whether another node has users in the room, and stands by.
    has_others: bool,
    /// When the rosters of other nodes are looked at, whether they have changed or not.
    look_at: Instant,
    /// Until then, users who were in the room before the loop moved may come back, or are not reported yet.
    settled_at: Instant,
    /// When the loop ends; set while the room has no users.
    over_at: Option<Instant>,
    tick_at: Instant,
    ticks: u64,
    save_at: Instant,
    saved: Option<Bytes>,
}

impl Runner {
    /// Runs a loop to its end, and reports the end to the keeper.
    pub(super) async fn run(
        node: Arc<Node>,
        entry: Arc<LoopEntry>,
        handle: Arc<RunnerHandle>,
        mut letters: mpsc::Receiver<Letter>,
        start: LoopStart,
    ) {
        let has_moved = start != LoopStart::Created;
        let LoopPlan { create, settings } = handle.plan.clone();
        let started = call_catching(|| defer_while(Waker::noop(), || create(&entry.name, &handle.lease, start)));
        let ending = match started {
            Ok(Some((driver, players))) => {
                let now = Instant::now();
                let lease = node.cluster.loop_lease();
                let mut runner = Self {
                    look_at: now,
                    settled_at: if has_moved { now + lease } else { now },
                    // The first look at the room says whether it has users.
                    over_at: None,
                    tick_at: now + settings.tick.clamp(MIN_TICK, NEVER),
                    ticks: 0,
                    save_at: now,
                    saved: None,
                    has_others: false,
                    players: players.into_iter().collect(),
                    node: Arc::clone(&node),
                    entry: Arc::clone(&entry),
                    settings,
                    handle: Arc::clone(&handle),
                    letters,
                    driver,
                };
                let Err(ending) = runner.turn().await;
                refuse_queue(&node, &mut runner.letters).await;
                if let LoopEnding::Over | LoopEnding::Alone = ending
                    && runner.call(|driver| driver.ended()).is_err()
                {
                    tracing::error!(room = &*entry.name, "a game loop has panicked at its end");
                }
                // Dropping the state calls the user's code too.
                let _ = call_catching(|| defer_while(Waker::noop(), || drop(runner)));
                ending
            }
            not_started => {
                refuse_queue(&node, &mut letters).await;
                if not_started.is_err() { LoopEnding::Failed } else { LoopEnding::Lost }
            }
        };
        if let LoopEnding::Failed = ending {
            tracing::error!(room = &*entry.name, "a game loop has panicked: it starts anew with what it last saved");
        }
        *handle.ending.lock() = Some(ending);
        node.loops.flag(&entry);
    }

    async fn turn(&mut self) -> Result<Infallible, LoopEnding> {
        loop {
            self.check_end()?;
            if !self.handle.lease.is_valid() {
                // Stands still until the lease is renewed or another node has it. Messages wait in the queue meanwhile.
                self.handle.wake.notified().await;
                continue;
            }
            let now = Instant::now();
            self.look(now)?;
            self.drain_queue().await?;
            self.tick()?;
            self.save(now);
            self.check_end()?;
            let next = [self.tick_at, self.look_at, self.save_at, self.handle.lease.until()];
            let next = next.into_iter().chain(self.over_at).min().unwrap_or(now);
            tokio::select! {
                biased;
                () = self.handle.wake.notified() => {}
                () = sleep_until(next) => {}
                letter = self.letters.recv() => match letter {
                    Some(letter) => self.handle_letter(letter)?,
                    None => return Err(LoopEnding::Lost),
                },
            }
        }
    }

    /// Whether the loop must end, or be handed over.
    fn check_end(&mut self) -> Result<(), LoopEnding> {
        let (loops, lease) = (&self.node.loops, &self.handle.lease);
        if self.handle.is_lost() {
            return Err(LoopEnding::Lost);
        }
        if lease.has_ended() && lease.is_valid() {
            return Err(LoopEnding::Over);
        }
        let can_be_taken = self.has_others || self.players.is_empty();
        if loops.is_closing.load(Ordering::Acquire) || loops.is_draining.load(Ordering::Acquire) && can_be_taken {
            return Err(LoopEnding::HandOver(self.snapshot()));
        }
        let now = Instant::now();
        if lease.is_valid() && self.over_at.is_some_and(|at| now >= at) {
            self.entry.loop_is_over();
            // Whoever has joined and called `run` before that is seen now, and any later `run` starts a new loop.
            self.entry.members_changed.store(true, Ordering::Release);
            self.look(now)?;
            if self.over_at.is_some_and(|at| now >= at) {
                return Err(LoopEnding::Alone);
            }
            self.entry.status.send_replace(LoopStatus::Here(self.settings.kind));
        }
        Ok(())
    }

    /// Calls the user's code.
    fn call<T>(&mut self, call: impl FnOnce(&mut dyn LoopDriver) -> T) -> Result<T, LoopEnding> {
        let Self { driver, handle, entry, .. } = self;
        let called = call_catching(|| {
            defer_while(Waker::noop(), || {
                let result = call(&mut **driver);
                if handle.lease.has_ended() {
                    // Before any player learns of the end, and calls `run` for another match.
                    entry.loop_is_over();
                }
                result
            })
        });
        called.map_err(|_| LoopEnding::Failed)
    }

    /// Tells the loop who has joined and left.
    fn look(&mut self, now: Instant) -> Result<(), LoopEnding> {
        let has_changed = self.entry.members_changed.swap(false, Ordering::AcqRel);
        let has_changed = self.handle.take_rosters_changed() || has_changed;
        if !has_changed && now < self.look_at {
            return Ok(());
        }
        let lease = self.node.cluster.loop_lease();
        self.look_at = now + lease / 3;
        let mut present = BTreeSet::new();
        let mut rosters = self.handle.rosters.lock();
        rosters.retain(|_, roster| now.saturating_duration_since(roster.received) < lease);
        self.has_others = rosters.values().any(|roster| roster.stands_by);
        present.extend(rosters.values().flat_map(|roster| &roster.users).cloned());
        drop(rosters);
        self.node
            .rooms
            .for_each_member(&self.entry.name, |recipient| _ = present.insert(recipient.state().uid.clone()));
        let was_empty = self.players.is_empty();
        if now >= self.settled_at {
            let left: Vec<_> = self.players.difference(&present).cloned().collect();
            for player in left {
                self.players.remove(&player);
                self.call(|driver| driver.left(&player))?;
            }
        } else {
            self.look_at = self.look_at.min(self.settled_at);
        }
        for player in present {
            if !self.players.contains(&player) {
                self.players.insert(player.clone());
                self.call(|driver| driver.joined(&player))?;
            }
        }
        if !self.players.is_empty() {
            self.over_at = None;
        } else if !was_empty {
            self.over_at = Some(now + self.settings.linger.min(NEVER));
            self.call(|driver| driver.emptied())?;
        } else if self.over_at.is_none() {
            self.over_at = Some(now + self.settings.linger.min(NEVER));
        }
        Ok(())
    }

    /// Handles the messages that wait, but not those that come meanwhile, so that they cannot delay a tick.
    async fn drain_queue(&mut self) -> Result<(), LoopEnding> {
        for _ in 0..self.letters.len() {
            let Ok(letter) = self.letters.try_recv() else { break };
            self.handle_letter(letter)?;
        }
        // Lets other tasks run, however many messages come.
        yield_now().await;
        Ok(())
    }

    fn handle_letter(&mut self, Letter { message, reply }: Letter) -> Result<(), LoopEnding> {
        // The message's sender may have just joined.
        self.look(Instant::now())?;
        let answer = if self.handle.lease.is_valid() {
            self.call(|driver| driver.message(&message))
        } else {
            Ok(Err(LoopFault::NotRunning))
        };
        let max_size = self.node.limits.game_loops.max_message_size;
        let failed = answer.is_err();
        let answer = match answer {
            Ok(Ok(reply)) if reply.len() > max_size => Err(LoopFault::Invalid),
            Ok(answer) => answer,
            Err(_) => Err(LoopFault::Failed),
        };
        match reply {
            ReplyTo::Nobody => {}
            // Whoever asked may not wait any more.
            ReplyTo::Here(waiting) => _ = waiting.send(answer),
            ReplyTo::There { node, number } => self.node.cluster.answer_for_loop(&node, number, answer),
        }
        if failed { Err(LoopEnding::Failed) } else { Ok(()) }
    }

    /// Calls the user's tick if one is due: once for all that are.
    fn tick(&mut self) -> Result<(), LoopEnding> {
        let now = Instant::now();
        // The messages before the tick may have taken long.
        if now < self.tick_at || !self.handle.lease.is_valid() {
            return Ok(());
        }
        let period = self.settings.tick.clamp(MIN_TICK, NEVER);
        let overdue = now - self.tick_at;
        let missed = u64::try_from(overdue.as_nanos() / period.as_nanos()).unwrap_or(u64::MAX);
        let late = Duration::from_nanos(u64::try_from(overdue.as_nanos() % period.as_nanos()).unwrap_or(u64::MAX));
        self.ticks += missed + 1;
        self.tick_at = now - late + period;
        let tick = Tick { number: self.ticks, missed, late };
        self.call(|driver| driver.tick(tick))
    }

    /// Saves the loop if it is time, and if it has changed.
    fn save(&mut self, now: Instant) {
        if now < self.save_at {
            return;
        }
        self.save_at = now + self.settings.save_interval.clamp(MIN_SAVE_INTERVAL, NEVER);
        let saved = self.snapshot();
        if saved.is_some() && saved != self.saved {
            self.saved.clone_from(&saved);
            *self.handle.unsaved.lock() = saved;
            self.node.loops.flag(&self.entry);
        }
    }

    /// Returns what is to be saved; `None` if nothing, or if it cannot be saved, and what was saved before is kept.
    fn snapshot(&mut self) -> Option<Bytes> {
        let players: Vec<_> = self.players.iter().collect();
        let saved = call_catching(|| defer_while(Waker::noop(), || self.driver.save(&players)));
        let max_size = self.node.limits.game_loops.max_saved_size;
        let room = &*self.entry.name;
        match saved.ok()? {
            Ok(Some(saved)) if saved.len() > max_size => {
                self.node.refusals.record(Limit::GameLoopSavedSize, &room);
                None
            }
            Ok(saved) => saved,
            Err(error) => {
                tracing::error!(room, error = logged(&error), "a game loop cannot be saved");
                None
            }
        }
    }
}

/// Refuses the messages that still wait, and those that are just being sent.
async fn refuse_queue(node: &Node, letters: &mut mpsc::Receiver<Letter>) {
    letters.close();
    while let Some(Letter { reply, .. }) = letters.recv().await {
        // Whoever waits on this node learns it when the reply is dropped.
        if let ReplyTo::There { node: from, number } = reply {
            node.cluster.answer_for_loop(&from, number, Err(LoopFault::NotRunning));
        }
    }
}
