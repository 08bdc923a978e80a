//! Checks again and again that the directory's records of its nodes are consistent.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use redis::{Client, RedisResult, aio::MultiplexedConnection};
use tokio::{sync::watch, task::JoinHandle, time::sleep};

use crate::RedisServer;

/// Returns a snapshot of everything that Redis holds about nodes. Test nodes are at addresses of this machine.
const SNAPSHOT: &str = "
    local reserved, nodes, counters = {}, {}, {}
    for _, key in ipairs(redis.call('KEYS', '{kengine}:reserved:*')) do
      table.insert(reserved, key:sub(#'{kengine}:reserved:' + 1))
      table.insert(reserved, redis.call('ZCARD', key))
    end
    for _, key in ipairs(redis.call('KEYS', '{kengine}:node:*')) do
      table.insert(nodes, key:sub(#'{kengine}:node:' + 1))
      table.insert(nodes, redis.call('HGET', key, 'state') or 'unknown')
    end
    for _, key in ipairs(redis.call('KEYS', '127.0.0.1:*')) do
      table.insert(counters, key)
      table.insert(counters, redis.call('GET', key) .. (redis.call('PTTL', key) == -1 and '' or ', for a while'))
    end
    return {redis.call('LRANGE', 'NODE_HOST_LIST', 0, -1), counters, redis.call('ZRANGE', '{kengine}:load', 0, -1,
      'WITHSCORES'), redis.call('HGETALL', '{kengine}:lease'), nodes, reserved}";
/// The pause between two snapshots.
const PAUSE: Duration = Duration::from_millis(5);

/// Takes snapshots of the directory in the background and checks each.
#[derive(Debug)]
pub struct Audit {
    over: watch::Sender<bool>,
    auditing: JoinHandle<usize>,
}

impl Audit {
    /// Starts the audit. It takes no snapshots while Redis is unreachable.
    pub fn start(redis: &RedisServer) -> Self {
        let (over, told) = watch::channel(false);
        let client = Client::open(redis.url()).expect("a URL");
        Self { over, auditing: tokio::spawn(audit_until(told, client)) }
    }

    /// Ends the audit and returns how many snapshots it took.
    ///
    /// # Panics
    ///
    /// Panics if a snapshot was inconsistent, or if there was none.
    pub async fn passed(mut self) -> usize {
        self.over.send_replace(true);
        let snapshots = (&mut self.auditing).await.expect("a directory that agrees with itself");
        assert!(snapshots > 0, "no snapshot was taken");
        snapshots
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.auditing.abort();
    }
}

async fn audit_until(over: watch::Receiver<bool>, client: Client) -> usize {
    let mut snapshots = 0;
    while !*over.borrow() {
        if let Ok(mut redis) = client.get_multiplexed_async_connection().await {
            while !*over.borrow()
                && let Ok(snapshot) = Snapshot::take(&mut redis).await
            {
                if let Some(wrong) = snapshot.wrong() {
                    panic!("{wrong}, in snapshot {snapshots}: {snapshot:#?}");
                }
                snapshots += 1;
                sleep(PAUSE).await;
            }
        }
        sleep(PAUSE).await;
    }
    snapshots
}

/// One snapshot.
#[derive(Debug)]
struct Snapshot {
    listed: Vec<String>,
    counters: BTreeMap<String, String>,
    loads: BTreeMap<String, i64>,
    leases: BTreeMap<String, i64>,
    states: BTreeMap<String, String>,
    reserved: BTreeMap<String, i64>,
}

impl Snapshot {
    async fn take(redis: &mut MultiplexedConnection) -> RedisResult<Self> {
        let taken = redis::cmd("EVAL").arg(SNAPSHOT).arg(0).query_async(redis).await?;
        let (listed, counters, loads, leases, states, reserved) = taken;
        Ok(Self { listed, counters, loads, leases, states, reserved })
    }

    /// Returns the first inconsistency.
    fn wrong(&self) -> Option<&'static str> {
        let listed: BTreeSet<_> = self.listed.iter().collect();
        let ready = self.states.iter().filter(|(_, state)| *state == "ready").map(|(address, _)| address);
        // A node that is gone has a lease below 0 and only keeps its counter.
        let leased = self.leases.iter().filter(|(_, expiry)| **expiry > 0).map(|(address, _)| address);
        let count = |address: &String| self.counters.get(address).and_then(|count| count.parse::<u32>().ok());
        let reserved = |address: &String| self.reserved.get(address).copied().unwrap_or(0);
        let adds_up = |(address, load): (&String, &i64)| {
            count(address).is_some_and(|count| i64::from(count) + reserved(address) == *load)
        };
        let claims = [
            ("a node is listed twice", listed.len() == self.listed.len()),
            ("the nodes that are listed are not those that are ready", listed.into_iter().eq(ready)),
            ("a counter is not a number", self.counters.keys().all(|address| count(address).is_some())),
            ("a counter has no lease, or a lease has no counter", self.counters.keys().eq(self.leases.keys())),
            ("a node has no lease, or a lease has no node", self.states.keys().eq(leased)),
            ("a node has no load, or a load has no node", self.states.keys().eq(self.loads.keys())),
            ("a load is not the sum of connections and reservations", self.loads.iter().all(adds_up)),
            ("seats are reserved at an unknown node", self.reserved.keys().all(|at| self.states.contains_key(at))),
        ];
        claims.into_iter().find(|(_, holds)| !holds).map(|(wrong, _)| wrong)
    }
}
