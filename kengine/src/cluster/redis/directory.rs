//! This node's place in the directory: joined, renewed at every beat, and left.

use std::{mem, sync::Arc, time::Duration};

use redis::{Pipeline, RedisError, RedisResult, Value, aio::MultiplexedConnection};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::{
    Place,
    claims::{Change, Claimed},
    keys::{self, Keys, NODES},
    message::{Message, channel},
    millis,
    scripts::{Script, Scripts},
};
use crate::local::{cluster_interface::Status, limits::Duplicates};

/// How long changes of the load are gathered: at most 40 round trips a second, and seen well within 100 ms.
const GATHERED: Duration = Duration::from_millis(25);
/// How many claims go in one round trip, and how many reservations; Lua unpacks no more than 8,000 arguments.
const BATCH: usize = 1000;
/// The first pause before another try, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));
/// How long the counter of a node that has left stays: whoever read the list before still reads it.
const FAREWELL: Duration = Duration::from_millis(250);

/// Keeps the node in the directory, until it has left.
pub(super) async fn keep(place: Arc<Place>) {
    let mut contact = Contact { pause: PAUSES.0, heard: None, is_told: false };
    loop {
        let Err(error) = stay(&place, &mut contact).await else { return };
        let was_here = place.status() == Status::Here;
        contact.lost(&place, &error);
        if !place.is_leaving() {
            sleep(contact.pause).await;
            contact.pause = (contact.pause * 2).min(PAUSES.1);
        } else if !was_here {
            // Nobody to tell: the lease will run out.
            return;
        }
    }
}

/// How it has gone with the directory lately.
struct Contact {
    pause: Duration,
    /// When it last answered a beat.
    heard: Option<Instant>,
    /// That it cannot be reached has been said.
    is_told: bool,
}

impl Contact {
    fn made(&mut self) {
        *self = Self { pause: PAUSES.0, heard: Some(Instant::now()), is_told: false };
    }

    /// Notes that the directory is away, and says so once.
    fn lost(&mut self, place: &Place, error: &RedisError) {
        let status = place.status();
        if !std::mem::replace(&mut self.is_told, true) {
            tracing::warn!(%error, "the directory is away: this node serves its players on its own");
        }
        if status == Status::Here {
            place.set(Status::Away);
        } else if status == Status::Away && self.heard.is_some_and(|heard| heard.elapsed() > place.lease) {
            place.set(Status::Expired);
            tracing::warn!("the directory is away for longer than the lease: others take this node for dead");
        }
    }
}

/// One connection's time.
async fn stay(place: &Place, contact: &mut Contact) -> RedisResult<()> {
    let mut link = Link::connect(place, contact).await?;
    if place.is_leaving() {
        return link.leave().await;
    }
    // Before it joins: when it was the directory that was away, nobody is taken for dead.
    link.beat().await?;
    link.join().await?;
    contact.made();
    let third = place.lease / 3;
    let mut beat = interval_at(Instant::now() + third, third);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = place.leave.notified() => return link.leave().await,
            () = place.drain.notified() => link.drain().await?,
            _ = beat.tick() => {
                if !link.beat().await? {
                    tracing::warn!("the directory has forgotten this node: joining again");
                    link.join().await?;
                }
                contact.made();
            }
            () = place.changed.notified() => {
                sleep(GATHERED).await;
                link.tell().await?;
            }
        }
    }
}

/// A connection to the directory.
struct Link<'p> {
    place: &'p Place,
    connection: MultiplexedConnection,
    scripts: Scripts,
    /// Nobody is taken for dead before.
    lenient_until: Instant,
    /// How many messages had been handled, and when.
    handled: (Instant, u64),
}

impl<'p> Link<'p> {
    async fn connect(place: &'p Place, contact: &Contact) -> RedisResult<Self> {
        let mut connection = place.connect().await?;
        let scripts = Scripts::load(&mut connection).await?;
        // A node that was away itself does not know who else was: all get a lease to come back.
        let was_away = contact.heard.is_some();
        let lenient_until = Instant::now() + if was_away { place.lease } else { Duration::ZERO };
        let handled = (Instant::now(), place.load().messages);
        Ok(Self { place, connection, scripts, lenient_until, handled })
    }

    /// Makes the node known; whose uids its connections have is to be told then.
    async fn join(&mut self) -> RedisResult<()> {
        let Place { keys, boot, lease, .. } = self.place;
        if self.place.status() == Status::Fenced {
            return Ok(());
        }
        let all = [NODES, &keys.address, &keys.load, &keys.lease, &keys.node, &keys.reserved];
        let is_draining = self.place.is_draining();
        let mut call = self.scripts.call(Script::Join, &all);
        call.arg(&keys.address)
            .arg(boot)
            .arg(self.place.load().connections)
            .arg(millis(*lease))
            .arg(if is_draining { "draining" } else { "ready" })
            .arg(self.place.capacity)
            .arg(env!("CARGO_PKG_VERSION"));
        call.exec_async(&mut self.connection).await?;
        self.place.claims().untell();
        self.place.changed.notify_one();
        self.place.set(Status::Here);
        if is_draining {
            self.place.unlisted.send_replace(true);
        }
        Ok(())
    }

    /// Renews the lease, and takes out nodes whose own ran out. Whether the node is known.
    async fn beat(&mut self) -> RedisResult<bool> {
        let Place { keys, boot, lease, .. } = self.place;
        if self.place.status() == Status::Fenced {
            return Ok(true);
        }
        let own = [&*keys.address, &keys.load, &keys.lease, &keys.node, &keys.reserved];
        let mut call = self.scripts.call(Script::Beat, &own);
        let (connections, redeemed) = self.load();
        call.arg(&keys.address)
            .arg(boot)
            .arg(connections)
            .arg(millis(*lease))
            .arg(self.place.load().rooms)
            .arg(self.messages_a_second())
            .arg(redeemed);
        let sent = Instant::now();
        let beaten: Vec<Value> = call.query_async(&mut self.connection).await?;
        let mut beaten = beaten.into_iter();
        let (known, now) = (beaten.next(), beaten.next());
        if let Some(Value::Int(now)) = now {
            self.place.set_clock(now, sent.elapsed());
        }
        match known {
            Some(Value::Int(1)) => {}
            Some(Value::Int(-1)) if self.place.status() != Status::Joining => {
                tracing::error!(
                    address = keys.address,
                    "another process has this node's address: this one is out of the directory until it is restarted"
                );
                self.place.set(Status::Fenced);
                return Ok(true);
            }
            _ => return Ok(false),
        }
        if Instant::now() >= self.lenient_until {
            for expired in beaten {
                let address: String = redis::from_redis_value(expired)?;
                self.reap(&address).await?;
            }
        }
        Ok(true)
    }

    /// How many messages a second have been handled since this was last asked.
    fn messages_a_second(&mut self) -> u64 {
        let (now, handled) = (Instant::now(), self.place.load().messages);
        let (before, handled_before) = mem::replace(&mut self.handled, (now, handled));
        let elapsed = u64::try_from((now - before).as_millis()).unwrap_or(u64::MAX).max(1);
        handled.saturating_sub(handled_before).saturating_mul(1000) / elapsed
    }

    async fn reap(&mut self, address: &str) -> RedisResult<()> {
        let keys = Keys::new(&self.place.prefix, address);
        let all = [NODES, &*keys.address, &keys.load, &keys.lease, &keys.node, &keys.reserved];
        let mut call = self.scripts.call(Script::Reap, &all);
        call.arg(address).arg(millis(FAREWELL));
        let reaped: u8 = call.query_async(&mut self.connection).await?;
        if reaped == 1 {
            tracing::warn!(
                address,
                "a node was not heard of for longer than its lease: taken out of the directory"
            );
        }
        Ok(())
    }

    /// How many connections there are, and the reservations by which they came: told together, so that nobody counts
    /// twice, but for one who is counted between the two, until the next time. The other way round, and that one would
    /// not count at all.
    fn load(&self) -> (usize, Vec<String>) {
        let mut redeemed = self.place.redeemed();
        let told = redeemed.take(BATCH);
        if !redeemed.is_empty() {
            self.place.changed.notify_one();
        }
        (self.place.load().connections, told)
    }

    /// Tells the load, and what became of reservations and claims, in one round trip; the rest, where they are many, has
    /// its turn later.
    async fn tell(&mut self) -> RedisResult<()> {
        let changes = self.place.claims().take(BATCH);
        let sent = self.send(&changes).await;
        if sent.is_err() {
            self.place.claims().put_back(changes);
        } else if changes.len() == BATCH {
            self.place.changed.notify_one();
        }
        sent
    }

    async fn send(&mut self, changes: &[Change]) -> RedisResult<()> {
        let Place { keys, boot, prefix, .. } = self.place;
        let duplicates = self.place.duplicates;
        let mut pipeline = Pipeline::with_capacity(changes.len() + 1);
        let own = [&*keys.address, &keys.load, &keys.node, &keys.reserved];
        let mut load = self.scripts.call(Script::Load, &own);
        let (connections, redeemed) = self.load();
        load.arg(&keys.address).arg(boot).arg(connections).arg(redeemed);
        pipeline.add_command(load);
        for Change { uid, claim } in changes {
            let key = keys::user(prefix, uid.as_str());
            let mut call;
            if let Some(Claimed { connection, at, is_again }) = claim {
                let lost = Message::Lose { uid: uid.clone() }.encode(boot);
                call = self.scripts.call(Script::Claim, &[&key]);
                call.arg(&keys.address)
                    .arg(boot)
                    .arg(connection.number())
                    .arg(at)
                    .arg(u8::from(*is_again))
                    .arg(u8::from(duplicates == Duplicates::Refuse))
                    .arg(channel::node(prefix, ""))
                    .arg(&lost[..]);
            } else {
                call = self.scripts.call(Script::Release, &[&key]);
                call.arg(boot);
            }
            pipeline.add_command(call);
        }
        let done: Vec<bool> = pipeline.query_async(&mut self.connection).await?;
        for (Change { uid, claim }, done) in changes.iter().zip(done.into_iter().skip(1)) {
            if let Some(Claimed { connection, .. }) = claim.as_ref().filter(|_| !done) {
                self.place.lose(uid, *connection, duplicates);
            }
        }
        Ok(())
    }

    async fn drain(&mut self) -> RedisResult<()> {
        let Place { keys, boot, .. } = self.place;
        let mut call = self.scripts.call(Script::Drain, &[NODES, &keys.node]);
        call.arg(&keys.address).arg(boot).exec_async(&mut self.connection).await?;
        self.place.unlisted.send_replace(true);
        Ok(())
    }

    /// Takes the node out; said again, where nobody knows whether it was heard, it does no harm.
    async fn leave(&mut self) -> RedisResult<()> {
        let Place { keys, boot, .. } = self.place;
        let all = [NODES, &*keys.load, &keys.lease, &keys.node, &keys.reserved];
        let mut call = self.scripts.call(Script::Leave, &all);
        call.arg(&keys.address).arg(boot).exec_async(&mut self.connection).await?;
        let left = Instant::now();
        while !self.place.claims().are_told() {
            self.tell().await?;
        }
        sleep(FAREWELL.saturating_sub(left.elapsed())).await;
        self.reap(&keys.address).await
    }
}
