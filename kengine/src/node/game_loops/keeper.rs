//! The task that keeps the leases of a node's game loops. It takes, renews and gives up all of them in batches, so that
//! loops never wait for the cluster.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::node::Node;
use crate::node::game_loops::entry::{LoopEnding, LoopEntry, LoopPlan, LoopStatus, RunnerHandle};
use crate::node::game_loops::registry::GameLoops;
use crate::node::game_loops::runner::Runner;
use crate::node_state::{Address, LeaseAnswer, LeaseRequest, LeaseWish, LoopLease, LoopStart, NodeMessage};

/// The number of leases in one request to the cluster.
const MAX_BATCH: usize = 256;
/// The pause before another attempt while the cluster cannot be reached.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// How long the saved state of a loop is kept at most: a year.
const MAX_KEEP: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// The minimum time between two rounds in which changed rosters are sent to other nodes.
const ROSTER_INTERVAL: Duration = Duration::from_millis(50);

/// Keeps the leases of a node until the node leaves or is dropped.
pub(super) async fn run(node: Weak<Node>, loops: Arc<GameLoops>) {
    let mut runners = JoinSet::new();
    let Some(lease) = node.upgrade().map(|node| node.cluster.loop_lease()) else { return };
    let mut period_at = Instant::now() + lease / 3;
    let mut rosters_at = None;
    let mut expiring = Expiring::default();
    loop {
        tokio::select! {
            () = sleep_until(period_at) => {}
            () = loops.wake.notified() => {}
            () = loops.rosters.notified(), if rosters_at.is_none() => {
                rosters_at = Some(Instant::now() + ROSTER_INTERVAL);
                continue;
            }
            () = sleep_until(rosters_at.unwrap_or(period_at)), if rosters_at.is_some() => {}
            () = sleep_until(expiring.at.unwrap_or(period_at)), if expiring.at.is_some() => expiring.flag(&loops),
            Some(_) = runners.join_next() => continue,
        }
        let Some(node) = node.upgrade() else { return };
        let is_closing = loops.is_closing.load(Ordering::Acquire);
        if is_closing {
            // Each of them ends soon, because no call of the user's code may wait.
            while runners.join_next().await.is_some() {}
        }
        let now = Instant::now();
        let is_period = now >= period_at;
        let mut pass = Pass { node: &node, lease, runners: &mut runners, expiring: &mut expiring };
        let flagged = std::mem::take(&mut *loops.flagged.lock());
        for entry in &flagged {
            entry.is_flagged.store(false, Ordering::Release);
        }
        let entries = if is_period || is_closing { loops.all() } else { flagged };
        let is_done = pass.run(&entries, is_period).await;
        if is_period {
            // Without a roster in each period, the loop's node takes this node for dead.
            for entry in &entries {
                entry.members_changed.store(true, Ordering::Release);
            }
        }
        if is_period || rosters_at.is_some_and(|at| now >= at) {
            rosters_at = None;
            for entry in loops.all() {
                if entry.status.borrow().is_elsewhere() {
                    node.send_roster(&entry);
                }
            }
        }
        if is_closing {
            loops.closed.send_replace(true);
            return;
        }
        if is_period || !is_done {
            period_at = Instant::now() + if is_done { lease / 3 } else { RETRY_PAUSE.min(lease / 3) };
        }
    }
}

/// Rooms whose loop runs elsewhere, on a node that has not renewed its lease in time.
#[derive(Default)]
struct Expiring {
    entries: Vec<Arc<LoopEntry>>,
    /// When the first of these leases ends.
    at: Option<Instant>,
}

impl Expiring {
    fn add(&mut self, entry: &Arc<LoopEntry>, at: Instant) {
        self.entries.push(Arc::clone(entry));
        self.at = Some(self.at.map_or(at, |first| first.min(at)));
    }

    /// Lets the keeper look at these leases now.
    fn flag(&mut self, loops: &GameLoops) {
        self.at = None;
        self.entries.drain(..).for_each(|entry| loops.flag(&entry));
    }
}

/// One round of requests to the cluster.
struct Pass<'p> {
    node: &'p Arc<Node>,
    lease: Duration,
    runners: &'p mut JoinSet<()>,
    expiring: &'p mut Expiring,
}

impl Pass<'_> {
    /// Asks for what each entry needs. Returns whether the cluster has answered.
    async fn run(&mut self, entries: &[Arc<LoopEntry>], is_period: bool) -> bool {
        let asked = entries.iter().filter_map(|entry| {
            let (plan, request) = self.request(entry, is_period)?;
            Some(((entry, plan), request))
        });
        let (entries, requests): (Vec<_>, Vec<_>) = asked.unzip();
        let mut is_done = true;
        for (entries, requests) in entries.chunks(MAX_BATCH).zip(requests.chunks(MAX_BATCH)) {
            let sent = Instant::now();
            let answers = self.node.cluster.lease_loops(requests).await;
            is_done &= answers.is_ok();
            match answers {
                Ok(answers) => {
                    for (((entry, plan), request), answer) in entries.iter().zip(requests).zip(answers) {
                        self.apply(entry, plan, request.wish, answer, sent);
                    }
                }
                Err(_) => entries.iter().zip(requests).for_each(|((entry, _), request)| put_back(entry, request)),
            }
        }
        is_done
    }

    /// Returns what to ask for an entry, and about which loop. `None` if nothing, or if the entry is not needed any
    /// more.
    fn request(&self, entry: &Arc<LoopEntry>, is_period: bool) -> Option<(LoopPlan, LeaseRequest)> {
        let request = |plan: LoopPlan, fence, wish, saved| {
            let request = LeaseRequest {
                room: Arc::clone(&entry.name),
                kind: plan.settings.kind,
                fence,
                is_valid: entry.runner().is_some_and(|runner| runner.lease.is_valid()),
                wish,
                saved,
                keep: self.lease.saturating_add(plan.settings.linger).min(MAX_KEEP),
            };
            Some((plan, request))
        };
        if let Some(runner) = entry.runner() {
            let (plan, fence) = (runner.plan.clone(), runner.lease.fence());
            let ending = runner.ending.lock().clone();
            match ending {
                None => return request(plan, fence, LeaseWish::Renew, runner.unsaved.lock().take()),
                Some(LoopEnding::Over | LoopEnding::Alone) => return request(plan, fence, LeaseWish::End, None),
                Some(LoopEnding::HandOver(saved)) => return request(plan, fence, LeaseWish::HandOver, saved),
                Some(LoopEnding::Failed | LoopEnding::Lost) => {
                    entry.set_runner(None);
                    entry.status.send_replace(LoopStatus::Unknown);
                    if !is_period {
                        // A loop that panics again and again starts once in a period.
                        return None;
                    }
                }
            }
        }
        let has_members = self.node.rooms.contains(&entry.name);
        let wanted = entry.wanted();
        let is_leaving = self.node.loops.is_draining.load(Ordering::Acquire);
        if is_leaving || !(has_members || wanted.is_some() && entry.status.receiver_count() > 0) {
            if entry.status.borrow().is_elsewhere() {
                entry.members_changed.store(true, Ordering::Release);
                self.node.send_roster(entry);
            }
            if !has_members {
                self.node.loops.remove(entry);
            }
            return None;
        }
        match wanted {
            Some(plan) => request(plan, 0, LeaseWish::Start, None),
            None => request(entry.plan()?, 0, LeaseWish::TakeOver, None),
        }
    }

    fn apply(&mut self, entry: &Arc<LoopEntry>, plan: &LoopPlan, wish: LeaseWish, answer: LeaseAnswer, sent: Instant) {
        // Given up a little earlier than others may take it, so that a call that has just begun can end.
        let until = sent + self.lease * 19 / 20;
        match answer {
            LeaseAnswer::Renewed { fence } => {
                if let Some(runner) = entry.runner() {
                    runner.lease.renew(fence, until);
                    runner.wake.notify_one();
                }
                return;
            }
            LeaseAnswer::Taken { fence, start } => {
                lose(entry);
                self.start(entry, plan, LoopLease::new(fence, until), start);
            }
            LeaseAnswer::Elsewhere { remaining } => {
                lose(entry);
                if remaining < self.lease / 3 {
                    // Before the next period, so that another node takes the loop over as soon as it may.
                    self.expiring.add(entry, Instant::now() + remaining + Duration::from_millis(1));
                }
                entry.set_plan(plan.clone());
                entry.status.send_replace(LoopStatus::Elsewhere(plan.settings.kind));
                entry.members_changed.store(true, Ordering::Release);
                self.node.send_roster(entry);
            }
            LeaseAnswer::OtherKind(kind) => {
                lose(entry);
                let ready_for = entry.plan().map(|plan| plan.settings.kind);
                let is_own = ready_for == Some(&*kind);
                let status = LoopStatus::OtherKind(kind.as_str().into());
                if wish == LeaseWish::TakeOver && *entry.status.borrow() != status {
                    tracing::warn!(
                        room = &*entry.name,
                        kind,
                        ready_for,
                        "the room has a game loop of another kind now: this node does not take it over"
                    );
                }
                entry.status.send_replace(status);
                if is_own {
                    // This node asked for another kind, and is still ready to take this one over.
                    self.node.loops.flag(entry);
                }
            }
            LeaseAnswer::Nowhere => match wish {
                // The lease cannot be renewed yet, because Redis has lost its data.
                LeaseWish::Renew => return,
                LeaseWish::HandOver | LeaseWish::End => return self.finish(entry),
                LeaseWish::Start | LeaseWish::TakeOver => {
                    entry.status.send_replace(LoopStatus::Unknown);
                    return;
                }
            },
        }
        entry.want(None);
    }

    /// Forgets a loop that has ended here, and tells the other nodes.
    fn finish(&self, entry: &Arc<LoopEntry>) {
        let ending = entry.runner().and_then(|runner| runner.ending.lock().clone());
        let message =
            if let Some(LoopEnding::Alone) = ending { NodeMessage::LoopWasAlone } else { NodeMessage::LoopIsFree };
        entry.set_runner(None);
        entry.status.send_replace(LoopStatus::Unknown);
        let _ = self.node.cluster.publish(Address::Room(&entry.name), message);
        if entry.wanted().is_some() {
            // Since it has ended, `run` was called again.
            self.node.loops.flag(entry);
        } else if !self.node.rooms.contains(&entry.name) {
            self.node.loops.remove(entry);
        }
    }

    fn start(&mut self, entry: &Arc<LoopEntry>, plan: &LoopPlan, lease: LoopLease, start: LoopStart) {
        let max_queue = self.node.limits.game_loops.max_queue;
        let (handle, letters) = RunnerHandle::new(plan.clone(), Arc::new(lease), max_queue);
        entry.set_plan(plan.clone());
        entry.set_runner(Some(Arc::clone(&handle)));
        // Before the loop runs, because its end changes the status too.
        entry.status.send_replace(LoopStatus::Here(plan.settings.kind));
        self.runners.spawn(Runner::run(Arc::clone(self.node), Arc::clone(entry), handle, letters, start));
    }
}

/// Drops the loop that runs here, because another node has had the lease since.
fn lose(entry: &LoopEntry) {
    if let Some(runner) = entry.runner() {
        tracing::warn!(room = &*entry.name, "another node runs the game loop now: the one here ends");
        runner.lose();
        entry.set_runner(None);
    }
}

/// Keeps what could not be saved, unless something newer is there already.
fn put_back(entry: &LoopEntry, request: &LeaseRequest) {
    if let (Some(runner), LeaseWish::Renew, Some(saved)) = (entry.runner(), request.wish, &request.saved) {
        runner.unsaved.lock().get_or_insert_with(|| saved.clone());
    }
}
