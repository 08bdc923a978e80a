//! This node's place in the directory: joined, renewed at every beat, and left.

use std::{sync::Arc, time::Duration};

use redis::{Pipeline, RedisResult, Value, aio::MultiplexedConnection};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::{
    Change, Place,
    keys::{self, Keys, NODES},
    message::{Message, channel},
    scripts::{Script, Scripts},
};
use crate::{Duplicates, cluster::Status};

/// How long changes of the load are gathered: at most 40 round trips a second, and seen well within 100 ms.
const GATHERED: Duration = Duration::from_millis(25);
/// How many claims go in one round trip.
const BATCH: usize = 1000;
/// The first pause before another try, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));
/// How long the counter of a node that has left stays: whoever read the list before still reads it.
const FAREWELL: Duration = Duration::from_millis(250);

/// Keeps the node in the directory, until it has left.
pub(super) async fn keep(place: Arc<Place>) {
    let mut pause = PAUSES.0;
    loop {
        let error = match stay(&place, &mut pause).await {
            Ok(()) => return,
            Err(error) => error,
        };
        place.is_away(&error);
        if place.is_leaving() {
            // Nobody to tell: the lease will run out.
            return;
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// One connection's time.
async fn stay(place: &Place, pause: &mut Duration) -> RedisResult<()> {
    let mut link = Link::connect(place).await?;
    link.join().await?;
    *pause = PAUSES.0;
    let third = place.lease / 3;
    let mut beat = interval_at(Instant::now() + third, third);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = place.leave.notified() => return link.leave().await,
            () = place.drain.notified() => link.drain().await?,
            _ = beat.tick() => link.beat().await?,
            () = place.changed.notified() => {
                sleep(GATHERED).await;
                link.flush().await?;
            }
        }
    }
}

/// A connection to the directory.
struct Link<'p> {
    place: &'p Place,
    connection: MultiplexedConnection,
    scripts: Scripts,
}

impl<'p> Link<'p> {
    async fn connect(place: &'p Place) -> RedisResult<Self> {
        let mut connection = place.connect().await?;
        let scripts = Scripts::load(&mut connection).await?;
        Ok(Self { place, connection, scripts })
    }

    /// Makes the node known, and whose uids its connections have.
    async fn join(&mut self) -> RedisResult<()> {
        let Place { keys, boot, lease, .. } = self.place;
        let all = [NODES, &keys.address, &keys.load, &keys.lease, &keys.node, &keys.reserved];
        let mut call = self.scripts.call(Script::Join, &all);
        call.arg(&keys.address)
            .arg(boot)
            .arg(self.place.connections())
            .arg(millis(*lease))
            .arg(if self.place.is_draining() { "draining" } else { "ready" })
            .arg(self.place.capacity())
            .arg(env!("CARGO_PKG_VERSION"));
        call.exec_async(&mut self.connection).await?;
        self.place.claim_again();
        self.flush().await?;
        self.place.set(Status::Here);
        Ok(())
    }

    /// Renews the lease, and takes out nodes whose own ran out.
    async fn beat(&mut self) -> RedisResult<()> {
        let Place { keys, boot, lease, .. } = self.place;
        if self.place.status() == Status::Fenced {
            return Ok(());
        }
        let own = [&*keys.address, &keys.load, &keys.lease, &keys.node, &keys.reserved];
        let mut call = self.scripts.call(Script::Beat, &own);
        call.arg(&keys.address)
            .arg(boot)
            .arg(self.place.connections())
            .arg(millis(*lease))
            .arg(self.place.rooms());
        let beaten: Vec<Value> = call.query_async(&mut self.connection).await?;
        let mut beaten = beaten.into_iter();
        match beaten.next() {
            Some(Value::Int(1)) => {}
            Some(Value::Int(0)) => {
                tracing::warn!(
                    address = keys.address,
                    "the directory has forgotten this node: joining again"
                );
                return self.join().await;
            }
            _ => {
                tracing::error!(
                    address = keys.address,
                    "another process has this node's address: this one is out of the directory until it is restarted"
                );
                self.place.set(Status::Fenced);
                return Ok(());
            }
        }
        for expired in beaten.skip(1) {
            let address: String = redis::from_redis_value(expired)?;
            self.reap(&address).await?;
        }
        Ok(())
    }

    async fn reap(&mut self, address: &str) -> RedisResult<()> {
        let keys = Keys::new(&self.place.prefix, address);
        let all = [NODES, &*keys.address, &keys.load, &keys.lease, &keys.node, &keys.reserved];
        let mut call = self.scripts.call(Script::Reap, &all);
        let reaped: u8 = call.arg(address).arg(millis(FAREWELL)).query_async(&mut self.connection).await?;
        if reaped == 1 {
            tracing::warn!(
                address,
                "a node was not heard of for longer than its lease: taken out of the directory"
            );
        }
        Ok(())
    }

    /// Tells the load, and what became of claims, in as few round trips as can be.
    async fn flush(&mut self) -> RedisResult<()> {
        if self.place.status() == Status::Fenced {
            return Ok(());
        }
        loop {
            let changes = self.place.take_changes(BATCH);
            let sent = self.send(&changes).await;
            if sent.is_err() {
                self.place.put_back(changes);
                return sent;
            }
            if changes.len() < BATCH {
                return Ok(());
            }
        }
    }

    async fn send(&mut self, changes: &[Change]) -> RedisResult<()> {
        let Place { keys, boot, prefix, .. } = self.place;
        let mut pipeline = Pipeline::new();
        let own = [&*keys.address, &keys.load, &keys.node, &keys.reserved];
        let mut load = self.scripts.call(Script::Load, &own);
        load.arg(&keys.address).arg(boot).arg(self.place.connections());
        pipeline.add_command(load);
        for change in changes {
            let (script, uid) = match change {
                Change::Claim { uid, .. } => (Script::Claim, uid),
                Change::Release { uid, .. } => (Script::Release, uid),
            };
            let mut call = self.scripts.call(script, &[&keys::user(prefix, uid.as_str())]);
            match change {
                Change::Claim { connection, at, again, duplicates, .. } => {
                    call.arg(&keys.address)
                        .arg(boot)
                        .arg(connection.number())
                        .arg(at)
                        .arg(u8::from(*again))
                        .arg(u8::from(*duplicates == Duplicates::Refuse))
                        .arg(channel::node(prefix, ""));
                }
                Change::Release { connection, .. } => {
                    call.arg(boot).arg(connection.number());
                }
            }
            pipeline.add_command(call);
        }
        let outcomes: Vec<Value> = pipeline.query_async(&mut self.connection).await?;
        let mut losers = Pipeline::new();
        for (change, outcome) in changes.iter().zip(outcomes.into_iter().skip(1)) {
            let Change::Claim { uid, connection, duplicates, .. } = change else { continue };
            let (granted, holder, held): (bool, String, String) = redis::from_redis_value(outcome)?;
            if !granted {
                self.place.lose(uid, *connection, *duplicates);
            } else if !holder.is_empty() && holder != *boot {
                let connection = held.parse().unwrap_or_default();
                let told = Message::Lose { uid: uid.clone(), connection, refused: false };
                losers.publish(channel::node(prefix, &holder), &told.encode(boot)[..]).ignore();
            }
        }
        if losers.is_empty() { Ok(()) } else { losers.exec_async(&mut self.connection).await }
    }

    async fn drain(&mut self) -> RedisResult<()> {
        let Place { keys, boot, .. } = self.place;
        let mut call = self.scripts.call(Script::Drain, &[NODES, &keys.node]);
        call.arg(&keys.address).arg(boot).exec_async(&mut self.connection).await
    }

    async fn leave(&mut self) -> RedisResult<()> {
        let Place { keys, boot, .. } = self.place;
        self.flush().await?;
        let all = [NODES, &*keys.load, &keys.lease, &keys.node, &keys.reserved];
        let mut call = self.scripts.call(Script::Leave, &all);
        let left: bool = call.arg(&keys.address).arg(boot).query_async(&mut self.connection).await?;
        if left {
            sleep(FAREWELL).await;
            let call = self.scripts.call(Script::Forget, &[&keys.address, &keys.node]);
            call.exec_async(&mut self.connection).await?;
        }
        Ok(())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
