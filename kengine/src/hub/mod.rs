//! Who is where on this node: users, rooms, and sends to them.

mod audience;
mod broadcast;
mod join;
mod member;
mod registry;
mod users;

use std::{
    borrow::Cow,
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Arc, atomic::Ordering},
    task::Waker,
};

use serde::Serialize;
use serde_json::Value;

pub(crate) use self::{
    audience::Audience,
    broadcast::Broadcast,
    member::Presence,
    registry::{Memberships, Registry},
    users::{Claim, Users},
};
pub use self::{
    audience::Who,
    join::{Fill, Join, JoinError},
    member::{Joined, Left, Member, Members},
    registry::Occupants,
};
use crate::{
    Close, CloseCode, Connection, ConnectionId, Push, SendError, Session, Syntax, Uid,
    cluster::{Address, Parcel},
    connection::Questions,
    node::Node,
    outbox::Outbox,
    wakes,
};
#[cfg(feature = "redis")]
use crate::{cluster::Outside, node::Limits};

/// The longest name of a room, in bytes.
const LONGEST_NAME: usize = 64;
/// The longest beginning of rooms that are to be filled, in bytes: behind it come 16 digits, a dash, and up to 20 digits.
const LONGEST_PREFIX: usize = LONGEST_NAME - 37;
/// Over how many locks users, and rooms, are spread.
const SHARDS: usize = 16;

fn shard_of(hasher: &RandomState, name: &str) -> usize {
    // The upper bits: a map's own hasher may be keyed alike, and uses the lower ones.
    const { assert!(SHARDS <= 16, "four bits tell shards apart") };
    usize::from((hasher.hash_one(name) >> 60) as u8) % SHARDS
}

/// How far a handle reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reach {
    #[default]
    Cluster,
    Node,
}

/// A connection of any session, as everybody else sees it.
pub(crate) trait Recipient: Send + Sync {
    fn id(&self) -> ConnectionId;
    fn uid(&self) -> &Uid;
    fn syntax(&self) -> &'static Syntax;
    fn outbox(&self) -> &Outbox;
    fn memberships(&self) -> &Memberships;
    fn questions(&self) -> &Questions;
    /// What others may know of the player; `null` if it cannot be written as JSON.
    fn public(&self) -> Value;
}

/// What to do about a second connection of a uid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Duplicates {
    /// The older one is closed with 4500: the player came back before the loss of the old connection was noticed.
    #[default]
    Replace,
    /// The newer one is closed with 4503: before `#[open]` if the older one is of this node, else when the cluster says so.
    Refuse,
    /// Both stay; what is sent to the user goes to both.
    Allow,
}

impl Duplicates {
    /// How the connection ends that does not have the uid.
    pub(crate) fn close(self) -> Close {
        match self {
            Self::Refuse => Close::new(CloseCode::ALREADY_CONNECTED, "already connected"),
            Self::Replace | Self::Allow => Close::new(CloseCode::REPLACED, "replaced by a newer connection"),
        }
    }
}

/// The server's handle: who is connected and in which rooms, and how to reach them. From inside a handler or a hook, as
/// the argument `&Hub`; from anywhere else by [`Bound::hub`](crate::Bound::hub). Cheap to clone, and usable from any
/// task.
///
/// ```
/// use kengine::{Connection, Error, Hub, Push};
///
/// #[derive(serde::Serialize, Push)]
/// struct Said<'a> {
///     text: &'a str,
/// }
///
/// struct Game;
///
/// #[kengine::dispatcher]
/// impl Game {
///     #[route]
///     async fn join(&self, hub: &Hub, connection: &Connection, room: String) -> Result<(), Error> {
///         Ok(hub.room(&room).join(connection).await?)
///     }
///
///     #[route]
///     async fn say(&self, hub: &Hub, connection: &Connection, text: String) -> Result<(), Error> {
///         hub.room("lobby").except(connection).send(&Said { text: &text })?;
///         Ok(())
///     }
/// }
/// ```
///
/// No send waits: what cannot be queued is not sent, and the connection that is too slow for it ends. From one sender,
/// all members of a room see the same order. What a handler sends to others goes out when it ends or awaits: one that
/// blocks its thread keeps it back.
#[derive(Clone)]
pub struct Hub {
    node: Arc<Node>,
}

impl Hub {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    /// The hub of a program that is no node: it sends to the rooms, the users and everybody of a cluster in Redis, for as
    /// long as it is kept. Its pushes reach endpoints with the default [`Syntax`].
    ///
    /// ```no_run
    /// # use kengine::{Hub, Push};
    /// #[derive(serde::Serialize, Push)]
    /// struct Maintenance {
    ///     minutes: u32,
    /// }
    ///
    /// # async fn announce() -> kengine::Result<()> {
    /// let hub = Hub::connect("redis://10.0.0.2/").await?;
    /// hub.all().send(&Maintenance { minutes: 5 })?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `redis` when the URL is none, `unavailable` when Redis cannot be reached. Once connected, the hub connects again
    /// by itself; meanwhile sends fail with [`SendError::Unavailable`].
    #[cfg(feature = "redis")]
    pub async fn connect(redis: impl Into<crate::Redis>) -> crate::Result<Self> {
        // Where users are is for the nodes to know: what is for one is told to all.
        let limits = Limits { duplicates: Duplicates::Allow, ..Limits::default() };
        let node = Node::new(limits, vec![&Syntax::DEFAULT], &Outside(redis.into()), None)?;
        node.cluster.begin();
        if !node.cluster.reached().await {
            return Err(crate::Error::new("unavailable", "Redis cannot be reached"));
        }
        Ok(Self::new(node))
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// The room of this name: 1 to 64 bytes without control characters. It begins with the first who joins, and ends
    /// with the last who leaves.
    pub fn room<'a>(&'a self, name: impl Into<Cow<'a, str>>) -> Room<'a> {
        Room { hub: self, name: name.into(), audience: Audience::default(), reach: Reach::default() }
    }

    /// The rooms whose names begin so: all of them for `""`.
    pub fn rooms<'a>(&'a self, prefix: impl Into<Cow<'a, str>>) -> Rooms<'a> {
        Rooms { hub: self, prefix: prefix.into() }
    }

    /// The user with this uid, a [`Uid`] or the text of one.
    pub fn user<'a>(&'a self, uid: impl Into<Cow<'a, str>>) -> User<'a> {
        User { hub: self, uid: uid.into(), reach: Reach::default() }
    }

    /// Everybody who is connected.
    pub fn all(&self) -> Everybody<'_> {
        Everybody { hub: self, audience: Audience::default(), reach: Reach::default() }
    }

    /// How many connections this node has, handshakes on their way included.
    pub fn connections(&self) -> usize {
        self.node.connections()
    }

    /// Has what is sent meanwhile reach each client in one write, as what a handler sends does: for a task of your own
    /// that sends several pushes at once, as a game's tick does.
    ///
    /// ```
    /// # use kengine::{Hub, Push};
    /// # #[derive(serde::Serialize, Push)]
    /// # struct Position(u32);
    /// # fn tick(hub: &Hub) {
    /// hub.batch(|| {
    ///     for ship in 0..9 {
    ///         let _ = hub.room("arena").send(&Position(ship));
    ///     }
    /// });
    /// # }
    /// ```
    pub fn batch<T>(&self, sends: impl FnOnce() -> T) -> T {
        let _ = self;
        wakes::put_off_while(Waker::noop(), sends)
    }

    /// What waits in all outboxes of this node, in bytes: counted in steps of 4 KiB of each connection.
    pub fn queued_bytes(&self) -> usize {
        self.node.backlog.bytes()
    }

    /// How many sends, and kicks, other nodes did not get, because they could not be reached or too much waited for them
    /// already.
    pub fn unpublished(&self) -> u64 {
        self.node.unpublished.load(Ordering::Relaxed)
    }

    /// Puts something on the bus; whether that worked.
    fn publish(&self, to: Address<'_>, parcel: Parcel) -> bool {
        let published = self.node.cluster.publish(to, parcel).is_ok();
        if !published {
            self.node.unpublished.fetch_add(1, Ordering::Relaxed);
        }
        published
    }

    /// Lets a connection that has ended out of everything.
    pub(crate) fn forget(&self, one: &dyn Recipient) {
        one.outbox().close(&self.node.backlog);
        one.questions().close();
        self.node.registry.leave_all(one, &self.node);
        self.node.relieve();
        self.node.users.release(one);
        self.node.cluster.release(one.uid(), one.id());
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("connections", &self.connections()).finish_non_exhaustive()
    }
}

/// A room, by its name: made by [`Hub::room`].
#[derive(Clone, Debug)]
pub struct Room<'a> {
    hub: &'a Hub,
    name: Cow<'a, str>,
    audience: Audience,
    reach: Reach,
}

impl<'a> Room<'a> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reaches this node alone, and no other of the cluster.
    #[must_use = "it changes nothing but how far this handle reaches"]
    pub fn local(mut self) -> Self {
        self.reach = Reach::Node;
        self
    }

    /// Lets a connection in, when it is awaited. It leaves by [`leave`](Self::leave), or by ending.
    pub fn join<'j, S: Session>(&self, connection: &'j Connection<S>) -> Join<'j, S>
    where
        'a: 'j,
    {
        Join::new(self.clone(), connection)
    }

    /// Whether a connection is in the room.
    pub fn contains<S: Session>(&self, connection: &Connection<S>) -> bool {
        connection.as_recipient().memberships().contains(&self.name)
    }

    /// Lets a connection out; whether it was in the room.
    pub fn leave<S: Session>(&self, connection: &Connection<S>) -> bool {
        let left = self.hub.node.registry.leave(&self.name, connection.as_recipient(), &self.hub.node);
        self.hub.node.relieve();
        left
    }

    /// Who is in the room, by uid, with what each session shows to others.
    pub async fn members(&self) -> Members {
        let node = &self.hub.node;
        let mut members = node.registry.members(&self.name);
        let mut is_partial = false;
        if self.reach == Reach::Cluster && node.cluster.reaches(Address::Room(&self.name)) {
            let gathered = node.cluster.members(&self.name).await;
            members.extend(gathered.members);
            is_partial = gathered.is_partial;
        }
        Members::new(members, is_partial)
    }

    /// Leaves these out of what is sent; may be said again, of others.
    #[must_use = "it changes nothing but what this handle sends"]
    pub fn except(mut self, who: impl Into<Who>) -> Self {
        self.audience.except(who.into());
        self
    }

    /// Sends to these alone, as far as they are members; may be said again, of others.
    #[must_use = "it changes nothing but what this handle sends"]
    pub fn only(mut self, who: impl Into<Who>) -> Self {
        self.audience.only(who.into());
        self
    }

    /// Sends a push to the members: queued in their outboxes, at once and without waiting. Encoded once, however many
    /// they are. Tells for how many connections of this node it was queued.
    ///
    /// # Errors
    ///
    /// [`SendError::Encode`] when the push cannot be written as JSON, [`SendError::TooLarge`] when no outbox would take
    /// it, [`SendError::Unavailable`] when members of other nodes cannot be reached: those of this one were. That a
    /// member is too slow, or gone, is no error of the others.
    pub fn send<P: Push + ?Sized>(&self, push: &P) -> Result<usize, SendError> {
        let node = &self.hub.node;
        let is_for_others = self.reach == Reach::Cluster && node.cluster.reaches(Address::Room(&self.name));
        if !is_for_others && !node.registry.contains(&self.name) {
            return Ok(0);
        }
        let mut sends = Sends::new(self.hub, push)?;
        self.hub.node.registry.each(&self.name, |one| {
            if self.audience.includes(&**one) {
                sends.send(&**one);
            }
        });
        if self.reach == Reach::Cluster {
            sends.publish(Address::Room(&self.name), &self.audience);
        }
        sends.finish()
    }
}

/// Rooms with the same beginning of their names: made by [`Hub::rooms`].
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is told to"]
pub struct Rooms<'a> {
    hub: &'a Hub,
    prefix: Cow<'a, str>,
}

impl<'a> Rooms<'a> {
    /// Seats a connection in the fullest room that has fewer than `seats` members, and in a new one only when all are
    /// full: what a match of nine players is filled by. The rooms are those that this has made, with this beginning;
    /// each has a name that no other node uses. A connection that sits in one of them stays there.
    ///
    /// Seats bind this alone: whoever may [join](Room::join) a room of any name walks past them. Keep the names that
    /// clients choose under another beginning.
    ///
    /// ```
    /// # use kengine::{Connection, Error, Hub};
    /// # async fn play(hub: &Hub, connection: &Connection) -> Result<(), Error> {
    /// let arena = hub.rooms("arena-").fill(9, connection).await?;
    /// assert!(arena.name().starts_with("arena-"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of a join, and [`JoinError::InvalidPrefix`] when the beginning has more than 27 bytes.
    pub fn fill<'f, S: Session>(&self, seats: usize, connection: &'f Connection<S>) -> Fill<'f, S>
    where
        'a: 'f,
    {
        Fill::new(self.clone(), seats, connection)
    }

    /// The rooms, by name, and how many connections of this node are in each.
    pub fn list(&self) -> Vec<RoomCount> {
        self.hub.node.registry.list(&self.prefix)
    }
}

/// A room in a [list](Rooms::list).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RoomCount {
    /// Its name.
    pub name: String,
    /// How many connections are in it.
    pub members: usize,
}

/// A user, by uid: made by [`Hub::user`].
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is told to"]
pub struct User<'a> {
    hub: &'a Hub,
    uid: Cow<'a, str>,
    reach: Reach,
}

impl User<'_> {
    /// Reaches this node alone, and no other of the cluster.
    #[must_use = "it changes nothing but how far this handle reaches"]
    pub fn local(mut self) -> Self {
        self.reach = Reach::Node;
        self
    }

    /// Sends a push to the user's connection, or to each of them. Tells for how many of this node it was queued.
    ///
    /// # Errors
    ///
    /// [`SendError::Encode`] when the push cannot be written as JSON, [`SendError::TooLarge`] when no outbox would take
    /// it, [`SendError::Unavailable`] when other nodes cannot be reached.
    pub fn send<P: Push + ?Sized>(&self, push: &P) -> Result<usize, SendError> {
        let mut sends = Sends::new(self.hub, push)?;
        self.hub.node.users.each_of(&self.uid, |one| sends.send(&**one));
        if self.may_be_elsewhere() {
            sends.publish(Address::User(&self.uid), &Audience::default());
        }
        sends.finish()
    }

    /// Closes the user's connection, or each of them, with a code and a reason, as
    /// [`Connection::close`] does; how many of this node. From codes of 4500 on, clients stay away.
    ///
    /// ```
    /// # use kengine::{Close, CloseCode, Hub};
    /// # fn ban(hub: &Hub) {
    /// hub.user("1001").kick(Close::new(CloseCode::KICKED, "be nice"));
    /// # }
    /// ```
    pub fn kick(&self, close: impl Into<Close>) -> usize {
        let close = close.into();
        let elsewhere = self.may_be_elsewhere() && self.hub.node.cluster.reaches(Address::User(&self.uid));
        let kicked = self.hub.node.kick(&self.uid, &close);
        if elsewhere {
            let published = self.hub.publish(Address::User(&self.uid), Parcel::Kick(close));
            if !published {
                tracing::warn!(
                    uid = &*self.uid,
                    "other nodes cannot be reached: a user is kicked from this one alone"
                );
            }
        }
        kicked
    }

    /// How many connections of this node the user has.
    pub fn connections(&self) -> usize {
        let mut connections = 0;
        let mut count = |one: &Arc<dyn Recipient>| connections += usize::from(!one.outbox().ends());
        self.hub.node.users.each_of(&self.uid, &mut count);
        connections
    }

    /// A user who is here is nowhere else, unless users may have several connections.
    fn may_be_elsewhere(&self) -> bool {
        let is_single = self.hub.node.limits.duplicates != Duplicates::Allow;
        self.reach == Reach::Cluster && !(is_single && self.connections() > 0)
    }
}

/// Everybody who is connected: made by [`Hub::all`].
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is told to"]
pub struct Everybody<'a> {
    hub: &'a Hub,
    audience: Audience,
    reach: Reach,
}

impl Everybody<'_> {
    /// Reaches this node alone, and no other of the cluster.
    #[must_use = "it changes nothing but how far this handle reaches"]
    pub fn local(mut self) -> Self {
        self.reach = Reach::Node;
        self
    }

    /// Leaves these out of what is sent; may be said again, of others.
    #[must_use = "it changes nothing but what this handle sends"]
    pub fn except(mut self, who: impl Into<Who>) -> Self {
        self.audience.except(who.into());
        self
    }

    /// Sends to these alone; may be said again, of others.
    #[must_use = "it changes nothing but what this handle sends"]
    pub fn only(mut self, who: impl Into<Who>) -> Self {
        self.audience.only(who.into());
        self
    }

    /// Sends a push to everybody, encoded once. Tells for how many connections of this node it was queued.
    ///
    /// # Errors
    ///
    /// [`SendError::Encode`] when the push cannot be written as JSON, [`SendError::TooLarge`] when no outbox would take
    /// it, [`SendError::Unavailable`] when other nodes cannot be reached.
    pub fn send<P: Push + ?Sized>(&self, push: &P) -> Result<usize, SendError> {
        let mut sends = Sends::new(self.hub, push)?;
        self.hub.node.users.each(|one| {
            if self.audience.includes(&**one) {
                sends.send(&**one);
            }
        });
        if self.reach == Reach::Cluster {
            sends.publish(Address::Everybody, &self.audience);
        }
        sends.finish()
    }
}

/// One push, queued for one receiver after another.
struct Sends<'s> {
    hub: &'s Hub,
    broadcast: Broadcast,
    reached: usize,
    /// Somebody cannot get it as it is.
    missed: bool,
    /// Other nodes cannot get it.
    unpublished: bool,
}

impl<'s> Sends<'s> {
    fn new<P: Push + ?Sized>(hub: &'s Hub, push: &P) -> Result<Self, SendError> {
        Ok(Self {
            hub,
            broadcast: Broadcast::new(push, &hub.node)?,
            reached: 0,
            missed: false,
            unpublished: false,
        })
    }

    fn send(&mut self, to: &dyn Recipient) {
        match self.broadcast.send(to, &self.hub.node) {
            Some(queued) => self.reached += usize::from(queued),
            None => self.missed = true,
        }
    }

    /// Sends it to other nodes, too: theirs come after ours.
    fn publish(&mut self, to: Address<'_>, audience: &Audience) {
        let node = &self.hub.node;
        if node.cluster.reaches(to)
            && let Some(audience) = audience.abroad()
        {
            self.unpublished = !self.hub.publish(to, self.broadcast.parcel(audience));
        }
    }

    fn finish(self) -> Result<usize, SendError> {
        self.hub.node.relieve();
        let failure = self.broadcast.into_failure().filter(|_| self.missed);
        let failure = failure.or(self.unpublished.then_some(SendError::Unavailable));
        failure.map_or(Ok(self.reached), Err)
    }
}
