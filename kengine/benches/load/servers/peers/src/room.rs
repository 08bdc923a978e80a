//! A room whose members have queues.

use std::future::pending;
use std::sync::Mutex;

use bytes::Bytes;
use tokio::sync::mpsc;

/// How many pushes may wait for a member. Members that are slower miss the next ones.
pub const MAX_WAITING_PUSHES: usize = 1024;

/// The room: the queues of its members.
#[derive(Default)]
pub struct Room(Mutex<Vec<mpsc::Sender<Bytes>>>);

impl Room {
    pub const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Adds a member, and returns its queue.
    pub fn join(&self) -> mpsc::Receiver<Bytes> {
        let (sender, receiver) = mpsc::channel(MAX_WAITING_PUSHES);
        self.0.lock().expect("no holder panics").push(sender);
        receiver
    }

    /// Puts a push into the queue of each member, and forgets members that have gone.
    pub fn send(&self, push: &Bytes) {
        let mut members = self.0.lock().expect("no holder panics");
        members.retain(|member| !matches!(member.try_send(push.clone()), Err(mpsc::error::TrySendError::Closed(_))));
    }
}

/// The queue of a client, if it is a member.
#[derive(Default)]
pub struct Membership(Option<mpsc::Receiver<Bytes>>);

impl Membership {
    /// Joins a room, unless the client is a member.
    pub fn join(&mut self, room: &Room) {
        self.0.get_or_insert_with(|| room.join());
    }

    /// Waits for the next push. Without a membership, none comes.
    pub async fn next(&mut self) -> Bytes {
        match &mut self.0 {
            // The room keeps the other end for as long as this one exists.
            Some(pushes) => pushes.recv().await.unwrap_or_default(),
            None => pending().await,
        }
    }
}
