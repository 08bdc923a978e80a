//! Keeps this node in the directory: it joins, renews its lease with every heartbeat, reports changes, and leaves.

use std::{
    mem,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use redis::{Pipeline, RedisError, RedisResult, Value};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use crate::cluster::redis::claims::{Change, Claim, Passing};
use crate::cluster::redis::connection::{Backoff, CommandConnection, connect};
use crate::cluster::redis::keys::{Keys, NODES};
use crate::cluster::redis::message::BusMessage;
use crate::cluster::redis::scripts::{Script, Scripts};
use crate::cluster::redis::seats_script::{self, sweep};
use crate::cluster::redis::shared_state::{Phase, SharedState, millis};
use crate::node_state::{Duplicates, Status};
use crate::protocol::logged;

/// How long changes are gathered before a report. This limits reports to 40 a second, and leaves time to report each
/// change within 100 ms.
const REPORT_DELAY: Duration = Duration::from_millis(25);
/// The maximum number of claims, and of reservations, in one report. Lua's `unpack` takes at most about 8,000
/// arguments.
const MAX_REPORT_LEN: usize = 1000;
/// How long the counter of a node that has left is kept, for gateways that have already read the list.
const COUNTER_LINGER: Duration = Duration::from_millis(250);

/// Keeps the node in the directory. Returns when it has left.
pub(super) async fn run(state: Arc<SharedState>) {
    let mut contact = Contact { backoff: Backoff::new(), last_answer: None, is_logged: false };
    loop {
        let Err(error) = run_connection(&state, &mut contact).await else { return };
        let was_registered = state.status().is_registered();
        contact.lost(&state, &error);
        if state.phase() != Phase::Leaving {
            contact.backoff.wait().await;
        } else if !was_registered {
            // The directory cannot be reached: the lease will expire.
            return;
        }
    }
}

/// The state of the contact with the directory, which outlasts a single connection.
struct Contact {
    backoff: Backoff,
    /// When the directory last answered a heartbeat.
    last_answer: Option<Instant>,
    /// Whether the present outage has been logged.
    is_logged: bool,
}

impl Contact {
    fn made(&mut self) {
        *self = Self { backoff: Backoff::new(), last_answer: Some(Instant::now()), is_logged: false };
    }

    /// Updates the status during an outage, and logs the outage once.
    fn lost(&mut self, state: &SharedState, error: &RedisError) {
        if !mem::replace(&mut self.is_logged, true) {
            tracing::warn!(error = logged(error), "the directory is away: this node serves its players alone");
        }
        let is_expired = self.last_answer.is_some_and(|answer| answer.elapsed() > state.lease);
        match state.status() {
            Status::Listed | Status::Unlisted => state.set_status(Status::Away),
            Status::Away if is_expired => {
                state.set_status(Status::Expired);
                tracing::warn!("the directory has been away for longer than the lease: this node counts as dead");
            }
            _ => {}
        }
    }
}

/// Connects to the directory, and stays in it until the connection fails. Returns `Ok` when the node has left.
async fn run_connection(state: &SharedState, contact: &mut Contact) -> RedisResult<()> {
    let mut phase = state.phase.subscribe();
    let mut directory = Directory::connect(state, contact).await?;
    if state.phase() == Phase::Leaving {
        return directory.leave().await;
    }
    // The heartbeat must precede the join: after an outage of the directory it renews all leases, but only while none
    // is valid.
    directory.beat().await?;
    directory.join().await?;
    contact.made();
    let (connection, scripts) = (directory.connection.clone(), directory.scripts.clone());
    tokio::select! {
        ended = stay(directory, &mut phase, contact) => ended,
        Err(error) = seats_script::serve(state, connection, &scripts) => Err(error),
    }
}

/// Stays in the directory until the connection fails. Returns `Ok` when the node has left.
async fn stay(
    mut directory: Directory<'_>,
    phase: &mut watch::Receiver<Phase>,
    contact: &mut Contact,
) -> RedisResult<()> {
    let state = directory.state;
    let period = state.lease / 3;
    let mut beat = interval_at(Instant::now() + period, period);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            // Cannot fail, because the state owns the sender.
            _ = phase.changed() => match state.phase() {
                Phase::Serving => {}
                Phase::Draining => directory.drain().await?,
                Phase::Leaving => return directory.leave().await,
            },
            _ = beat.tick() => {
                if !directory.beat().await? {
                    tracing::warn!("the directory does not know this node any more: joining again");
                    directory.join().await?;
                }
                contact.made();
            }
            () = state.load_changed.notified() => {
                sleep(REPORT_DELAY).await;
                directory.report().await?;
            }
        }
    }
}

/// A connection to the directory.
struct Directory<'s> {
    state: &'s SharedState,
    connection: CommandConnection,
    scripts: Scripts,
    /// Other nodes are not removed before this time.
    lenient_until: Instant,
    /// When the last heartbeat was sent that has landed.
    beaten: Instant,
    /// When the rate of messages was last computed, and the number of messages handled until then.
    handled: (Instant, u64),
}

impl<'s> Directory<'s> {
    async fn connect(state: &'s SharedState, contact: &Contact) -> RedisResult<Self> {
        let mut connection = connect(&state.client).await?;
        let scripts = Scripts::load(&mut connection).await?;
        // A node that lost its connection cannot tell whether other nodes lost theirs too, so it gives all of them one
        // lease to come back.
        let was_away = contact.last_answer.is_some();
        let lenient_until = Instant::now() + if was_away { state.lease } else { Duration::ZERO };
        let handled = (Instant::now(), state.load().messages);
        Ok(Self { state, connection, scripts, lenient_until, beaten: Instant::now(), handled })
    }

    /// Registers the node, and marks the claims of its connections to be reported again.
    async fn join(&mut self) -> RedisResult<()> {
        let SharedState { keys, boot, lease, info, joined, .. } = self.state;
        if self.state.status() == Status::Fenced {
            return Ok(());
        }
        let all = [NODES, &keys.address, &keys.load, &keys.lease, &keys.node, &keys.reserved, &keys.versions];
        let (name, status) = match self.state.phase() {
            Phase::Serving => ("ready", Status::Listed),
            Phase::Draining | Phase::Leaving => ("draining", Status::Unlisted),
        };
        let mut call = self.scripts.call(Script::Join, &all);
        call.arg(&keys.address)
            .arg(boot)
            .arg(self.state.load().connections)
            .arg(millis(*lease))
            .arg(name)
            .arg(info.max_connections)
            .arg(&info.version)
            .arg(joined.load(Ordering::Relaxed));
        // Before this node may give seats again, so that none is given of those that it has; and afterwards, because
        // other nodes may remove what a node has reported that is not in the directory.
        self.state.restore_rooms();
        joined.store(call.query_async(&mut self.connection).await?, Ordering::Relaxed);
        self.state.claim_again();
        self.state.restore_rooms();
        self.state.set_status(status);
        Ok(())
    }

    /// Renews the lease, and removes nodes whose leases have expired. Returns whether the directory knows this node.
    async fn beat(&mut self) -> RedisResult<bool> {
        let SharedState { keys, boot, lease, joined, .. } = self.state;
        if self.state.status() == Status::Fenced {
            return Ok(true);
        }
        let own = [&*keys.address, &keys.load, &keys.lease, &keys.node, &keys.reserved];
        let mut call = self.scripts.call(Script::Beat, &own);
        let (connections, redeemed) = self.load();
        call.arg(&keys.address)
            .arg(boot)
            .arg(connections)
            .arg(millis(*lease))
            .arg(self.state.load().rooms)
            .arg(self.messages_per_second())
            .arg(joined.load(Ordering::Relaxed))
            .arg(redeemed);
        let sent = Instant::now();
        let answer: Vec<Value> = call.query_async(&mut self.connection).await?;
        let mut answer = answer.into_iter();
        let (known, now) = (answer.next(), answer.next());
        if let Some(Value::Int(now)) = now {
            self.state.set_clock(now, sent.elapsed());
        }
        match known {
            Some(Value::Int(1)) => {
                // If the lease has expired meanwhile, other nodes may have removed the seats of this one.
                if sent - mem::replace(&mut self.beaten, sent) > self.state.lease * 2 / 3 {
                    self.state.restore_rooms();
                }
            }
            Some(Value::Int(-1)) if self.state.status() != Status::Joining => {
                tracing::error!(
                    address = keys.address,
                    "another process has taken this node's address: \
                     this node stays out of the directory until it restarts"
                );
                self.state.set_status(Status::Fenced);
                return Ok(true);
            }
            _ => return Ok(false),
        }
        if Instant::now() >= self.lenient_until {
            for expired in answer {
                let address: String = redis::from_redis_value(expired)?;
                self.reap(&address).await?;
            }
        }
        Ok(true)
    }

    /// Returns the rate of handled messages since the last call.
    fn messages_per_second(&mut self) -> u64 {
        let (now, handled) = (Instant::now(), self.state.load().messages);
        let (before, handled_before) = mem::replace(&mut self.handled, (now, handled));
        let elapsed = u64::try_from((now - before).as_millis()).unwrap_or(u64::MAX).max(1);
        handled.saturating_sub(handled_before).saturating_mul(1000) / elapsed
    }

    /// Removes a node whose lease has expired, and later its counter.
    async fn reap(&mut self, address: &str) -> RedisResult<()> {
        let keys = Keys::new(&self.state.keys.prefix, address);
        let all = [NODES, &*keys.address, &keys.load, &keys.lease, &keys.node, &keys.reserved, &keys.versions];
        let mut call = self.scripts.call(Script::Reap, &all);
        call.arg(address).arg(millis(COUNTER_LINGER));
        let reaped: u8 = call.query_async(&mut self.connection).await?;
        if reaped == 1 {
            tracing::warn!(address, "the lease of a node has expired: removed it from the directory");
            self.state.seats.sweep();
        }
        Ok(())
    }

    /// Returns the number of connections and the redeemed reservations. They are reported together, so that no player
    /// counts both as a connection and as a reservation. A player who connects between the two reads counts twice
    /// until the next report. If the connections were read first, such a player would not count at all.
    fn load(&self) -> (usize, Vec<String>) {
        let mut redeemed = self.state.redeemed();
        let reported = redeemed.take(MAX_REPORT_LEN);
        if !redeemed.is_empty() {
            self.state.load_changed.notify_one();
        }
        (self.state.load().connections, reported)
    }

    /// Reports the load, redeemed reservations and changed claims in one round trip. If there are too many for one
    /// report, the next one has the rest.
    async fn report(&mut self) -> RedisResult<()> {
        let changes = self.state.claims().take(MAX_REPORT_LEN);
        let sent = self.send(&changes).await;
        if sent.is_err() {
            self.state.claims().put_back(changes);
        } else if changes.len() == MAX_REPORT_LEN {
            self.state.load_changed.notify_one();
        }
        sent
    }

    async fn send(&mut self, changes: &[Change]) -> RedisResult<()> {
        let SharedState { keys, boot, .. } = self.state;
        let duplicates = self.state.info.duplicates;
        let mut pipeline = Pipeline::with_capacity(changes.len() + 1);
        let own = [&*keys.address, &keys.load, &keys.node, &keys.reserved];
        let mut load = self.scripts.call(Script::Load, &own);
        let (connections, redeemed) = self.load();
        load.arg(&keys.address).arg(boot).arg(connections).arg(redeemed);
        pipeline.add_command(load);
        for Change { uid, claim } in changes {
            let key = keys.user(uid.as_str());
            let mut call;
            if let Some(Claim { connection, at, is_again, is_away, passing }) = claim {
                let (giver, taker) = match passing.as_deref() {
                    Some(Passing::From(giver)) => (giver.as_str(), ""),
                    Some(Passing::BackFrom(taker)) => ("", taker.as_str()),
                    None => ("", ""),
                };
                let lose = BusMessage::Lose { uid: uid.clone() }.encode(boot);
                call = self.scripts.call(Script::Claim, &[&key]);
                call.arg(&keys.address)
                    .arg(boot)
                    .arg(connection.0)
                    .arg(self.state.latest(*at))
                    .arg(millis(at.elapsed()))
                    .arg(u8::from(*is_again))
                    .arg(u8::from(*is_away))
                    .arg(u8::from(duplicates == Duplicates::Refuse))
                    .arg(keys.node_channel(""))
                    .arg(&lose[..])
                    .arg(giver)
                    .arg(taker);
            } else {
                call = self.scripts.call(Script::Release, &[&key]);
                call.arg(boot);
            }
            pipeline.add_command(call);
        }
        let done: Vec<bool> = pipeline.query_async(&mut self.connection).await?;
        for (Change { uid, claim }, done) in changes.iter().zip(done.into_iter().skip(1)) {
            if let Some(Claim { connection, .. }) = claim.as_ref().filter(|_| !done) {
                self.state.lose(uid, *connection, duplicates);
            }
        }
        Ok(())
    }

    /// Takes the node off the list from which gateways choose.
    async fn drain(&mut self) -> RedisResult<()> {
        let SharedState { keys, boot, .. } = self.state;
        let mut call = self.scripts.call(Script::Drain, &[NODES, &keys.node]);
        call.arg(&keys.address).arg(boot).exec_async(&mut self.connection).await?;
        if self.state.status() == Status::Listed {
            self.state.set_status(Status::Unlisted);
        }
        Ok(())
    }

    /// Removes the node from the directory. It can be repeated if the answer is lost.
    async fn leave(&mut self) -> RedisResult<()> {
        let SharedState { keys, boot, .. } = self.state;
        let all = [NODES, &*keys.load, &keys.lease, &keys.node, &keys.reserved];
        let mut call = self.scripts.call(Script::Leave, &all);
        call.arg(&keys.address).arg(boot).exec_async(&mut self.connection).await?;
        let left = Instant::now();
        while !self.state.claims().are_sent() {
            self.report().await?;
        }
        sweep(self.state, &mut self.connection, &self.scripts).await?;
        sleep(COUNTER_LINGER.saturating_sub(left.elapsed())).await;
        self.reap(&keys.address).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::redis::config::Redis;
    use crate::node_state::{Duplicates, NodeInfo};

    /// Returns the status of a node after two failures in a row.
    fn status_without_the_directory(lease: Duration, last_answer: Option<Instant>) -> Status {
        let (duplicates, version) = (Duplicates::default(), String::new());
        let info = NodeInfo { boot: 1, listens: None, max_connections: 1, duplicates, version };
        let state = SharedState::new(&Redis::new("redis://localhost/").lease(lease), info, "localhost:1").unwrap();
        state.set_status(Status::Listed);
        let mut contact = Contact { backoff: Backoff::new(), last_answer, is_logged: false };
        for _ in 0..2 {
            contact.lost(&state, &RedisError::from(std::io::Error::other("away")));
        }
        state.status()
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_counts_as_dead_only_when_its_lease_has_expired() {
        let lease = Duration::from_secs(10);
        let answered = Instant::now();
        assert_eq!(status_without_the_directory(lease, Some(answered)), Status::Away);
        tokio::time::advance(lease + Duration::from_millis(1)).await;
        assert_eq!(status_without_the_directory(lease, Some(answered)), Status::Expired);
    }
}
