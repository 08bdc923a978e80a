//! What nodes say to each other: one channel per node, one for everybody, one for each room.
//!
//! A node that has somebody in a room says hello to the others that do, and each answers: so all of them know of each
//! other, a send to a room that lives on one node puts nothing on the bus, and a join returns once everyone knows.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt;
use redis::{
    Pipeline, RedisError, RedisResult,
    aio::{MultiplexedConnection, PubSubSink, PubSubStream},
};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use super::{
    Place,
    keys::user,
    message::{self, Message, Received, channel},
    scripts::{Script, Scripts},
};
use crate::local::{
    cluster_interface::{Address, Gathered, NodeMessage, Unavailable},
    connection_id::ConnectionId,
    limits::Duplicates,
    member::Member,
    panics::call_catching,
};

/// How many messages may wait for the bus, and how many bytes they may have; past either, sends fail.
const LETTERS: usize = 8 * 1024;
const LETTER_BYTES: usize = 64 * 1024 * 1024;
/// How many go in one round trip.
const BATCH: usize = 256;
/// How long a join waits for other nodes to know of it.
const SETTLED_WITHIN: Duration = Duration::from_secs(1);
/// How long other nodes may take to answer.
const ANSWERED_WITHIN: Duration = Duration::from_millis(250);
/// How many answers may wait for the one who has asked.
const ANSWERS: usize = 256;
/// How late the bus may be: then what has gathered is dropped with the connection.
const LATE: Duration = Duration::from_secs(5);
/// The first pause before another try, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));

/// The bus, as the rest of this node uses it.
#[derive(Debug)]
pub(super) struct Bus {
    letters: mpsc::Sender<Letter>,
    /// What the letters that wait have, in bytes.
    waiting: AtomicUsize,
    /// Read for every send to a room, written when one begins or ends here.
    rooms: RwLock<HashMap<Box<str>, Link>>,
    /// A room is wanted that was not.
    wanted: Notify,
    /// Something about a room has settled.
    settled: watch::Sender<()>,
    state: AtomicU8,
    /// A connection for questions, while the bus works.
    commands: Mutex<Option<MultiplexedConnection>>,
    /// Who waits for answers, by number.
    asked: Mutex<HashMap<u64, mpsc::Sender<Vec<Member>>>>,
    numbers: AtomicU64,
}

/// Whether anything can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum State {
    /// Not yet: who waits for it does not wait in vain.
    Beginning,
    Up,
    Away,
}

/// Something that is to go out.
#[derive(Debug)]
pub(super) struct Letter {
    to: Target,
    bytes: Bytes,
}

#[derive(Debug)]
enum Target {
    Channel(String),
    /// The node that has this user, by the user's key.
    User(String),
}

/// What this node knows of a room that it has somebody in, or had until lately.
#[derive(Debug, Default)]
struct Link {
    is_wanted: bool,
    /// The channel is subscribed.
    is_standing: bool,
    /// Nodes that have somebody there, too.
    peers: HashSet<String>,
    /// How many have not answered our hello, which was said then.
    missing: usize,
    said: Option<Instant>,
}

impl Link {
    /// Whether nodes may have somebody there that this one does not know of.
    fn is_unsure(&self) -> bool {
        !self.is_standing || self.missing > 0
    }

    /// Whether nobody is waited for any more.
    fn is_settled(&self) -> bool {
        self.is_standing
            && (self.missing == 0 || self.said.is_some_and(|said| said.elapsed() >= ANSWERED_WITHIN))
    }
}

impl Bus {
    pub(super) fn new() -> (Self, mpsc::Receiver<Letter>) {
        let (letters, outgoing) = mpsc::channel(LETTERS);
        let bus = Self {
            letters,
            waiting: AtomicUsize::new(0),
            rooms: RwLock::default(),
            wanted: Notify::new(),
            settled: watch::Sender::new(()),
            state: AtomicU8::new(State::Beginning as u8),
            commands: Mutex::default(),
            asked: Mutex::default(),
            numbers: AtomicU64::new(1),
        };
        (bus, outgoing)
    }

    /// Waits until it is known whether the bus can be reached.
    pub(super) async fn begun(&self) -> bool {
        let mut changes = self.settled.subscribe();
        // Fails only when the sender is gone, which is this bus's.
        while self.is(State::Beginning) && changes.changed().await.is_ok() {}
        self.is(State::Up)
    }

    pub(super) fn reaches(&self, to: Address<&str>) -> bool {
        let Address::Room(room) = to else { return true };
        self.rooms().get(room).is_none_or(|link| link.is_unsure() || !link.peers.is_empty())
    }

    pub(super) fn publish(
        &self,
        place: &Place,
        to: Address<&str>,
        parcel: &NodeMessage,
    ) -> Result<(), Unavailable> {
        if !self.is(State::Up) {
            return Err(Unavailable);
        }
        let prefix = &place.prefix;
        let target = match to {
            Address::Room(room) => Target::Channel(channel::room(prefix, room)),
            Address::User(uid) if place.duplicates != Duplicates::Allow => Target::User(user(prefix, uid)),
            Address::User(_) | Address::Everybody => Target::Channel(channel::everybody(prefix)),
        };
        self.post(target, message::encode(&place.boot, to, parcel))
    }

    fn post(&self, to: Target, bytes: Bytes) -> Result<(), Unavailable> {
        let size = bytes.len();
        let fits = self.waiting.load(Ordering::Relaxed) + size <= LETTER_BYTES;
        if !fits || !self.is(State::Up) {
            return Err(Unavailable);
        }
        self.waiting.fetch_add(size, Ordering::Relaxed);
        self.letters.try_send(Letter { to, bytes }).map_err(|_| {
            self.waiting.fetch_sub(size, Ordering::Relaxed);
            Unavailable
        })
    }

    pub(super) fn subscribe(&self, room: &str) {
        let mut rooms = self.rooms_mut();
        match rooms.get_mut(room) {
            Some(link) => link.is_wanted = true,
            None => _ = rooms.insert(room.into(), Link { is_wanted: true, ..Link::default() }),
        }
        drop(rooms);
        self.wanted.notify_one();
    }

    /// The channel is left at the next beat: who hops from room to room costs no command a hop.
    pub(super) fn unsubscribe(&self, room: &str) {
        let mut rooms = self.rooms_mut();
        if let Some(link) = rooms.get_mut(room) {
            link.is_wanted = false;
            if !link.is_standing {
                // There may be no next beat for long.
                rooms.remove(room);
            }
        }
    }

    pub(super) async fn subscribed(&self, room: &str) -> Result<(), Unavailable> {
        let settled = async {
            let mut changes = self.settled.subscribe();
            while self.rooms().get(room).is_some_and(|link| !link.is_settled()) {
                if self.is(State::Away) {
                    return Err(Unavailable);
                }
                // Also when nothing changes: who does not answer is waited for no longer than that.
                let _ = timeout(ANSWERED_WITHIN, changes.changed()).await;
            }
            Ok(())
        };
        timeout(SETTLED_WITHIN, settled).await.map_err(|_| Unavailable)?
    }

    pub(super) async fn members(&self, place: &Place, room: &str) -> Gathered {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (answer, mut answers) = mpsc::channel(ANSWERS);
        let _asked = Asked::new(self, number, answer);
        let mut gathered = Gathered::default();
        let gathering = async {
            let mut commands = lock(&self.commands).clone()?;
            let question = Message::Who { room: room.to_owned(), number }.encode(&place.boot);
            let mut call = redis::cmd("PUBLISH");
            call.arg(channel::room(&place.prefix, room)).arg(&question[..]);
            let listeners: usize = call.query_async(&mut commands).await.ok()?;
            let own = usize::from(self.rooms().get(room).is_some_and(|link| link.is_standing));
            for _ in 0..listeners.saturating_sub(own) {
                gathered.members.extend(answers.recv().await?);
            }
            Some(())
        };
        let is_partial = !matches!(timeout(ANSWERED_WITHIN, gathering).await, Ok(Some(())));
        Gathered { is_partial, ..gathered }
    }

    fn is(&self, state: State) -> bool {
        self.state.load(Ordering::Acquire) == state as u8
    }

    fn set(&self, state: State, commands: Option<MultiplexedConnection>) {
        *lock(&self.commands) = commands;
        self.state.store(state as u8, Ordering::Release);
        self.settled.send_replace(());
    }

    // Nothing between lock and unlock can panic half-way through a change.
    fn rooms(&self) -> RwLockReadGuard<'_, HashMap<Box<str>, Link>> {
        self.rooms.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn rooms_mut(&self) -> RwLockWriteGuard<'_, HashMap<Box<str>, Link>> {
        self.rooms.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question that is answered no more when this is dropped.
struct Asked<'b> {
    bus: &'b Bus,
    number: u64,
}

impl<'b> Asked<'b> {
    fn new(bus: &'b Bus, number: u64, answer: mpsc::Sender<Vec<Member>>) -> Self {
        lock(&bus.asked).insert(number, answer);
        Self { bus, number }
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        lock(&self.bus.asked).remove(&self.number);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing between lock and unlock can panic half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Carries messages until the node has left.
pub(super) async fn run(place: &Place, mut outgoing: mpsc::Receiver<Letter>) {
    let mut pause = PAUSES.0;
    loop {
        let Err(error) = work(place, &mut outgoing, &mut pause).await;
        place.bus.set(State::Away, None);
        for link in place.bus.rooms_mut().values_mut() {
            *link = Link { is_wanted: link.is_wanted, ..Link::default() };
        }
        place.bus.rooms_mut().retain(|_, link| link.is_wanted);
        tracing::debug!(%error, "the bus is away");
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// One connection's time.
async fn work(
    place: &Place,
    outgoing: &mut mpsc::Receiver<Letter>,
    pause: &mut Duration,
) -> RedisResult<std::convert::Infallible> {
    let mut commands = place.connect().await?;
    let scripts = Scripts::load(&mut commands).await?;
    let (sink, stream) = place.subscribe().await?.split();
    let mut hearing = Hearing { place, commands: commands.clone(), sink, echoed: Instant::now() };
    hearing.begin().await?;
    *pause = PAUSES.0;
    // What was to be said to those who did not hear it is not said later: each at most once.
    while let Ok(letter) = outgoing.try_recv() {
        place.bus.waiting.fetch_sub(letter.bytes.len(), Ordering::Relaxed);
    }
    place.bus.set(State::Up, Some(commands.clone()));
    tokio::select! {
        ended = hearing.hear(stream) => ended,
        ended = speak(place, outgoing, commands, &scripts) => ended,
    }
}

/// Sends what is to go out, in order.
async fn speak(
    place: &Place,
    outgoing: &mut mpsc::Receiver<Letter>,
    mut commands: MultiplexedConnection,
    scripts: &Scripts,
) -> RedisResult<std::convert::Infallible> {
    let own = channel::node(&place.prefix, "");
    let mut letters = Vec::with_capacity(BATCH);
    loop {
        outgoing.recv_many(&mut letters, BATCH).await;
        let mut pipeline = Pipeline::with_capacity(letters.len());
        for Letter { to, bytes } in letters.drain(..) {
            place.bus.waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
            match to {
                Target::Channel(channel) => _ = pipeline.publish(channel, &bytes[..]).ignore(),
                Target::User(key) => {
                    let mut call = scripts.call(Script::Route, &[&key]);
                    call.arg(&own).arg(&bytes[..]);
                    pipeline.add_command(call).ignore();
                }
            }
        }
        pipeline.exec_async(&mut commands).await?;
    }
}

/// The hearing half of one connection's time.
struct Hearing<'p> {
    place: &'p Place,
    commands: MultiplexedConnection,
    sink: PubSubSink,
    /// When the bus last showed that it works.
    echoed: Instant,
}

impl Hearing<'_> {
    /// Subscribes to what every node hears, and to the rooms that somebody is in by now.
    async fn begin(&mut self) -> RedisResult<()> {
        let Place { prefix, boot, .. } = self.place;
        let own = [channel::node(prefix, boot), channel::everybody(prefix)];
        in_time(self.sink.subscribe(&own[..])).await?;
        self.enter().await
    }

    async fn hear(&mut self, mut stream: PubSubStream) -> RedisResult<std::convert::Infallible> {
        let mut beat = interval(self.place.lease / 3);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = stream.next() => {
                    let Some(message) = message else { return Err(gone("the bus was closed")) };
                    if let Some(received) = message.get_payload::<Vec<u8>>().ok().and_then(|bytes| Received::read(bytes.into())) {
                        // It asks sessions what they show of themselves, which is code of the user's.
                        let _ = call_catching(|| self.take(received));
                    }
                }
                () = self.place.bus.wanted.notified() => self.enter().await?,
                _ = beat.tick() => self.beat().await?,
            }
        }
    }

    /// Subscribes to the rooms that are wanted and not heard yet, and says hello there.
    async fn enter(&mut self) -> RedisResult<()> {
        let Place { prefix, boot, bus, .. } = self.place;
        let new: Vec<_> = {
            let links = bus.rooms();
            let wanted = links.iter().filter(|(_, link)| link.is_wanted && !link.is_standing);
            wanted.map(|(room, _)| room.clone()).collect()
        };
        for rooms in new.chunks(BATCH) {
            let channels: Vec<_> = rooms.iter().map(|room| channel::room(prefix, room)).collect();
            in_time(self.sink.subscribe(&channels)).await?;
            let mut hellos = Pipeline::with_capacity(rooms.len());
            for (room, channel) in rooms.iter().zip(&channels) {
                hellos.publish(channel, &Message::Hello { room: room.to_string() }.encode(boot)[..]);
            }
            let listeners: Vec<usize> = hellos.query_async(&mut self.commands).await?;
            let mut links = bus.rooms_mut();
            for (room, listeners) in rooms.iter().zip(listeners) {
                // Where it is wanted no more, the next beat leaves it.
                let link = links.entry(room.clone()).or_default();
                // We are one of them.
                link.missing = listeners.saturating_sub(1);
                link.said = Some(Instant::now());
                link.is_standing = true;
            }
            drop(links);
            bus.settled.send_replace(());
        }
        Ok(())
    }

    /// Leaves the rooms that nobody is in any more, forgets nodes that are gone, and sees that the bus works.
    async fn beat(&mut self) -> RedisResult<()> {
        let Place { prefix, boot, bus, .. } = self.place;
        if self.echoed.elapsed() > LATE {
            return Err(gone("the bus is late"));
        }
        let mut pipeline = Pipeline::new();
        let echo = Message::Echo { number: 0 }.encode(boot);
        pipeline.publish(channel::node(prefix, boot), &echo[..]).ignore();
        let (mut left, mut peers) = (Vec::new(), HashSet::new());
        bus.rooms_mut().retain(|room, link| {
            peers.extend(link.peers.iter().cloned());
            if !link.is_wanted && link.is_standing {
                left.push(room.clone());
            }
            link.is_wanted
        });
        for room in &left {
            let bye = Message::Bye { room: room.to_string() }.encode(boot);
            pipeline.publish(channel::room(prefix, room), &bye[..]).ignore();
        }
        let peers: Vec<_> = peers.into_iter().collect();
        if !peers.is_empty() {
            let mut count = redis::cmd("PUBSUB");
            count.arg("NUMSUB").arg(peers.iter().map(|peer| channel::node(prefix, peer)).collect::<Vec<_>>());
            pipeline.add_command(count);
        }
        let counts: Vec<Vec<(String, usize)>> = pipeline.query_async(&mut self.commands).await?;
        let gone =
            peers.iter().zip(counts.into_iter().flatten()).filter(|(_, (_, listeners))| *listeners == 0);
        for (peer, _) in gone {
            bus.rooms_mut().values_mut().for_each(|link| _ = link.peers.remove(peer));
        }
        if !left.is_empty() {
            let channels: Vec<_> = left.iter().map(|room| channel::room(prefix, room)).collect();
            in_time(self.sink.unsubscribe(&channels)).await?;
            // Somebody may have come meanwhile: the channel is subscribed anew then.
            bus.wanted.notify_one();
        }
        Ok(())
    }

    fn take(&mut self, mut received: Received) {
        let Place { boot, bus, .. } = self.place;
        if received.from == *boot {
            if matches!(received.message, Message::Echo { .. }) {
                self.echoed = Instant::now();
            }
            return;
        }
        let Some(node) = self.place.node() else { return };
        let parcel = received.parcel(node.syntaxes());
        let number = received.number();
        let from = received.from;
        match received.message {
            Message::Parcel { to, .. } => {
                if let Some(parcel) = parcel {
                    node.receive(to.map(String::as_str), &parcel);
                }
            }
            Message::Lose { uid } => {
                if let Some(number) = number {
                    self.place.lose(&uid, ConnectionId::new(number), Duplicates::Replace);
                }
            }
            Message::Hello { room } => {
                let mut rooms = bus.rooms_mut();
                let link = rooms.get_mut(&*room).filter(|link| link.is_standing);
                let is_member = link.is_some();
                if let Some(link) = link {
                    link.peers.insert(from.clone());
                }
                drop(rooms);
                self.answer(&from, &Message::Seen { room, is_member });
            }
            Message::Seen { room, is_member } => {
                if let Some(link) = bus.rooms_mut().get_mut(&*room) {
                    link.missing = link.missing.saturating_sub(1);
                    if is_member {
                        link.peers.insert(from);
                    }
                }
                bus.settled.send_replace(());
            }
            Message::Bye { room } => {
                if let Some(link) = bus.rooms_mut().get_mut(&*room) {
                    link.peers.remove(&from);
                }
            }
            Message::Who { room, number } => {
                let members = node.members(&room);
                self.answer(&from, &Message::Here { number, members });
            }
            Message::Here { number, members } => {
                if let Some(answers) = lock(&bus.asked).get(&number) {
                    // More than were asked for, or too late: nobody needs it.
                    let _ = answers.try_send(members);
                }
            }
            Message::Echo { .. } => {}
        }
    }

    fn answer(&self, to: &str, message: &Message) {
        let Place { prefix, boot, bus, .. } = self.place;
        // Where the bus is full, whoever waits for it goes on without.
        let _ = bus.post(Target::Channel(channel::node(prefix, to)), message.encode(boot));
    }
}

/// A subscription has no limit of its own.
async fn in_time(subscribing: impl Future<Output = RedisResult<()>>) -> RedisResult<()> {
    timeout(super::ANSWERED_WITHIN, subscribing)
        .await
        .unwrap_or_else(|_| Err(gone("the bus does not answer")))
}

fn gone(why: &'static str) -> RedisError {
    std::io::Error::new(std::io::ErrorKind::TimedOut, why).into()
}
