//! The game loops of a node: those that it runs, and those that it is ready to take over.

mod entry;
mod keeper;
mod questions;
pub(super) mod registry;
mod runner;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::RecvError;
use tokio::time::timeout;

use self::entry::{LoopEntry, LoopPlan, LoopStatus, ReplyTo};
use self::questions::LoopReply;
use crate::node::Node;
use crate::node_state::{
    CreateLoop, GameLoopError, Limit, LoopFault, LoopMessage, LoopSettings, RoomWatcher, is_room_name,
};
use crate::protocol::Uid;

/// How long `run` waits until it is known where the loop runs.
const RUN_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a reply of a loop may take.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

impl Node {
    /// Runs a game loop in a room, unless it runs already on this node or another.
    pub(crate) async fn run_loop(
        self: &Arc<Self>,
        room: &str,
        create: CreateLoop,
        settings: LoopSettings,
    ) -> Result<(), GameLoopError> {
        let loops = &self.loops;
        if !is_room_name(room) {
            return Err(GameLoopError::NotRunning);
        }
        let plan = LoopPlan { create, settings };
        let entry = loops.find_or_create(room, self.limits.game_loops.max_loops);
        let entry = entry.inspect_err(|_| self.refusals.record(Limit::GameLoops, &room))?;
        if !loops.is_kept.swap(true, Ordering::AcqRel) {
            let _ = self.rooms.watcher.set(Arc::clone(loops) as Arc<dyn RoomWatcher>);
            self.spawn(keeper::run(Arc::downgrade(self), Arc::clone(loops)));
        }
        let found = timeout(RUN_TIMEOUT, self.find_loop(&entry, &plan)).await;
        found.map_err(|_| GameLoopError::Unavailable)??;
        if entry.status.borrow().is_elsewhere() {
            self.send_roster(&entry);
        }
        Ok(())
    }

    /// Waits until it is known where the loop runs.
    async fn find_loop(&self, entry: &Arc<LoopEntry>, plan: &LoopPlan) -> Result<(), GameLoopError> {
        let wanted = plan.settings.kind;
        let mut status = entry.status.subscribe();
        let mut has_asked = false;
        loop {
            let known = status.borrow_and_update().clone();
            match known {
                LoopStatus::Here(kind) | LoopStatus::Elsewhere(kind) if kind == wanted => return Ok(()),
                LoopStatus::Here(kind) => return Err(GameLoopError::OtherKind(kind.to_owned())),
                LoopStatus::Elsewhere(kind) if has_asked => return Err(GameLoopError::OtherKind(kind.to_owned())),
                LoopStatus::OtherKind(kind) if has_asked && *kind != *wanted => {
                    return Err(GameLoopError::OtherKind(String::from(&*kind)));
                }
                LoopStatus::Unknown if has_asked => {}
                // That loop may be over meanwhile.
                LoopStatus::Elsewhere(_) | LoopStatus::OtherKind(_) | LoopStatus::Unknown => {
                    entry.want(Some(plan.clone()));
                    entry.status.send_if_modified(|status| {
                        *status == known && std::mem::replace(status, LoopStatus::Unknown) != LoopStatus::Unknown
                    });
                    self.loops.flag(entry);
                    has_asked = true;
                }
            }
            // Cannot fail otherwise, because the entry owns the sender.
            status.changed().await.map_err(|_| GameLoopError::Unavailable)?;
        }
    }

    /// Returns how many game loops run on this node.
    pub(crate) fn running_loops(&self) -> usize {
        self.loops.all().iter().filter(|entry| entry.runner().is_some()).count()
    }

    /// Sends a message to the game loop of a room.
    pub(crate) fn tell_loop(&self, room: &str, kind: &'static str, message: Bytes) -> Result<(), GameLoopError> {
        let entry = self.loops.find(room);
        match self.send_to_loop_here(entry.as_deref(), kind, message, ReplyTo::Nobody)? {
            None => Ok(()),
            Some(message) => {
                self.send_to_loop_elsewhere(room, entry.as_deref(), LoopMessage::Tell(kind.into(), message))
            }
        }
    }

    /// Sends a message to the game loop of a room, and returns the reply.
    pub(crate) async fn ask_loop(
        &self,
        room: &str,
        kind: &'static str,
        message: Bytes,
    ) -> Result<Bytes, GameLoopError> {
        let entry = self.loops.find(room);
        let (reply, replied) = oneshot::channel();
        match self.send_to_loop_here(entry.as_deref(), kind, message, ReplyTo::Here(reply))? {
            None => reply_in_time(replied).await,
            Some(message) => {
                let question = self.loops.questions.open();
                let ask = LoopMessage::Ask(kind.into(), question.number, message);
                self.send_to_loop_elsewhere(room, entry.as_deref(), ask)?;
                reply_in_time(question.answered()).await
            }
        }
    }

    /// Sends a message to a game loop of this node. Returns the message if the loop does not run here.
    fn send_to_loop_here(
        &self,
        entry: Option<&LoopEntry>,
        kind: &str,
        message: Bytes,
        reply: ReplyTo,
    ) -> Result<Option<Bytes>, GameLoopError> {
        if message.len() > self.limits.game_loops.max_message_size {
            return Err(GameLoopError::TooLarge(message.len()));
        }
        let Some(entry) = entry else { return Ok(Some(message)) };
        match entry.send(kind, message, reply) {
            Ok(()) => Ok(None),
            Err((LoopFault::NotRunning, message)) => Ok(Some(message)),
            Err((fault, _)) => Err(self.refuse_letter(&entry.name, fault)),
        }
    }

    /// Delivers a message of another node to a game loop of this one.
    pub(super) fn deliver_to_loop(&self, from: &str, room: &str, message: LoopMessage) {
        let entry = self.loops.find(room);
        let (kind, message, number) = match message {
            LoopMessage::Tell(kind, message) => (kind, message, None),
            LoopMessage::Ask(kind, number, message) => (kind, message, Some(number)),
            LoopMessage::Roster { users, stands_by } => {
                if let Some(runner) = entry.and_then(|entry| entry.runner()) {
                    runner.set_roster(from, users, stands_by);
                }
                return;
            }
        };
        let reply = number.map_or(ReplyTo::Nobody, |number| ReplyTo::There { node: from.into(), number });
        let sent = entry
            .map_or(Err(LoopFault::NotRunning), |entry| entry.send(&kind, message, reply).map_err(|(fault, _)| fault));
        if let Err(fault) = sent {
            self.refuse_letter(room, fault.clone());
            if let Some(number) = number {
                self.cluster.answer_for_loop(from, number, Err(fault));
            }
        }
    }

    /// Looks at the lease of a game loop, because another node has given it up.
    pub(super) fn loop_is_free(&self, room: &str) {
        if let Some(entry) = self.loops.find(room) {
            self.loops.flag(&entry);
        }
    }

    /// Starts a new game loop if this node has players in the room, because the loop of another node is over, which did
    /// not know them yet.
    pub(super) fn loop_was_alone(&self, room: &str) {
        if let Some(entry) = self.loops.find(room) {
            let knows_another = matches!(*entry.status.borrow(), LoopStatus::OtherKind(_));
            if self.rooms.contains(room) && !knows_another && entry.wanted().is_none() {
                entry.want(entry.plan());
            }
            self.loops.flag(&entry);
        }
    }

    pub(super) fn loop_answered(&self, number: u64, answer: Result<Bytes, LoopFault>) {
        self.loops.questions.answered(number, answer);
    }

    /// Whether this node runs the game loop of a room, or stands by.
    pub(crate) fn knows_loop(&self, room: &str) -> bool {
        self.loops.find(room).is_some()
    }

    /// Tells the node that runs the game loop of a room which users are in the room on this node, if this node knows
    /// the loop, or if another node has said that there is one (`is_there`). Then it is told once, and believes it for
    /// a lease.
    pub(super) fn report_to_loop(&self, room: &str, is_there: bool) {
        if let Some(entry) = self.loops.find(room) {
            self.send_roster(&entry);
        } else if is_there {
            let roster = LoopMessage::Roster { users: self.users_in(room), stands_by: false };
            // If the bus cannot be reached, the loop is told that they have left until this node runs it.
            let _ = self.cluster.send_to_loop(room, roster);
        }
    }

    fn users_in(&self, room: &str) -> Vec<Uid> {
        let mut users = Vec::new();
        self.rooms.for_each_member(room, |recipient| users.push(recipient.state().uid.clone()));
        users
    }

    /// Tells the node that runs a game loop which users are in the room on this node, if they have changed.
    fn send_roster(&self, entry: &LoopEntry) {
        let _in_order = entry.order.lock();
        self.send_roster_in_order(entry);
    }

    /// Sends a message after the roster, so that the loop knows a user before the user's first message.
    fn send_to_loop_elsewhere(
        &self,
        room: &str,
        entry: Option<&LoopEntry>,
        message: LoopMessage,
    ) -> Result<(), GameLoopError> {
        let _in_order = entry.map(|entry| entry.order.lock());
        if let Some(entry) = entry {
            self.send_roster_in_order(entry);
        }
        self.cluster.send_to_loop(room, message)
    }

    fn send_roster_in_order(&self, entry: &LoopEntry) {
        if entry.members_changed.swap(false, Ordering::AcqRel) {
            let roster = LoopMessage::Roster { users: self.users_in(&entry.name), stands_by: true };
            if self.cluster.send_to_loop(&entry.name, roster).is_err() {
                entry.members_changed.store(true, Ordering::Release);
            }
        }
    }

    fn refuse_letter(&self, room: &str, fault: LoopFault) -> GameLoopError {
        if fault == LoopFault::Busy {
            self.refusals.record(Limit::GameLoopQueue, &room);
        }
        fault.into()
    }
}

/// Waits for the reply of a loop.
async fn reply_in_time(reply: impl Future<Output = Result<LoopReply, RecvError>>) -> Result<Bytes, GameLoopError> {
    let reply = timeout(REPLY_TIMEOUT, reply).await.map_err(|_| GameLoopError::TimedOut)?;
    // A loop that has been dropped replies no more.
    Ok(reply.map_err(|_| GameLoopError::NotRunning)??)
}
