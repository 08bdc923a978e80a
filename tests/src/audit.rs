//! Checks that the keys of the directory agree with each other at every moment.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use redis::{Client, RedisResult, aio::MultiplexedConnection};
use tokio::{sync::watch, task::JoinHandle, time::sleep};

use crate::RedisServer;

/// Reads everything about nodes at one moment. Nodes of tests have addresses on this machine.
const LOOK: &str = "
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
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Looks into the directory again and again, and fails if its keys ever disagree.
#[derive(Debug)]
pub struct Audit {
    over: watch::Sender<bool>,
    looking: JoinHandle<usize>,
}

impl Audit {
    /// Starts looking. While Redis is away, nothing is looked at.
    pub fn start(redis: &RedisServer) -> Self {
        let (over, told) = watch::channel(false);
        let client = Client::open(redis.url()).expect("a URL");
        Self { over, looking: tokio::spawn(look_until(told, client)) }
    }

    /// Stops looking, and returns how many looks there were.
    ///
    /// # Panics
    ///
    /// Panics if a look found a contradiction, or if there was no look.
    pub async fn passed(mut self) -> usize {
        self.over.send_replace(true);
        let looks = (&mut self.looking).await.expect("a directory that agrees with itself");
        assert!(looks > 0, "nothing was seen");
        looks
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

async fn look_until(over: watch::Receiver<bool>, client: Client) -> usize {
    let mut looks = 0;
    while !*over.borrow() {
        if let Ok(mut redis) = client.get_multiplexed_async_connection().await {
            while !*over.borrow()
                && let Ok(seen) = Seen::look(&mut redis).await
            {
                if let Some(wrong) = seen.wrong() {
                    panic!("{wrong}, at look {looks}: {seen:#?}");
                }
                looks += 1;
                sleep(PAUSE).await;
            }
        }
        sleep(PAUSE).await;
    }
    looks
}

/// The result of one look.
#[derive(Debug)]
struct Seen {
    listed: Vec<String>,
    counters: BTreeMap<String, String>,
    loads: BTreeMap<String, i64>,
    leases: BTreeMap<String, i64>,
    states: BTreeMap<String, String>,
    reserved: BTreeMap<String, i64>,
}

impl Seen {
    async fn look(redis: &mut MultiplexedConnection) -> RedisResult<Self> {
        let look = redis::cmd("EVAL").arg(LOOK).arg(0).query_async(redis).await?;
        let (listed, counters, loads, leases, states, reserved) = look;
        Ok(Self { listed, counters, loads, leases, states, reserved })
    }

    /// Returns the first contradiction.
    fn wrong(&self) -> Option<&'static str> {
        let listed: BTreeSet<_> = self.listed.iter().collect();
        let ready = self.states.iter().filter(|(_, state)| *state == "ready").map(|(address, _)| address);
        // A node that has gone has a negative lease; only its counter is left.
        let leased = self.leases.iter().filter(|(_, expiry)| **expiry > 0).map(|(address, _)| address);
        let count = |address: &String| self.counters.get(address).and_then(|count| count.parse::<u32>().ok());
        let reserved = |address: &String| self.reserved.get(address).copied().unwrap_or(0);
        let adds_up = |(address, load): (&String, &i64)| {
            count(address).is_some_and(|count| i64::from(count) + reserved(address) == *load)
        };
        let claims = [
            ("a node is listed twice", listed.len() == self.listed.len()),
            ("the nodes that are listed are not those that are ready", listed.into_iter().eq(ready)),
            ("a counter is no number", self.counters.keys().all(|address| count(address).is_some())),
            ("there is a counter without a lease, or none with one", self.counters.keys().eq(self.leases.keys())),
            ("there is a node without a lease, or none with one", self.states.keys().eq(leased)),
            ("there is a node without a load, or none with one", self.states.keys().eq(self.loads.keys())),
            ("a load is not the connections and the reservations", self.loads.iter().all(adds_up)),
            ("seats are reserved at no node", self.reserved.keys().all(|at| self.states.contains_key(at))),
        ];
        claims.into_iter().find(|(_, holds)| !holds).map(|(wrong, _)| wrong)
    }
}
