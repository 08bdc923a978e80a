//! The scripts that Redis runs, one by one, on the real server.

use futures_util::StreamExt;
use kengine_tests::{RedisServer, within};
use redis::{
    AsyncCommands, FromRedisValue,
    aio::{MultiplexedConnection, PubSub},
};

macro_rules! script {
    ($name:literal) => {
        include_str!(concat!("../../../kengine/src/cluster/redis/scripts/", $name, ".lua"))
    };
}

const JOIN: &str = script!("join");
const BEAT: &str = script!("beat");
const LOAD: &str = script!("load");
const DRAIN: &str = script!("drain");
const LEAVE: &str = script!("leave");
const REAP: &str = script!("reap");
const CLAIM: &str = script!("claim");
const RELEASE: &str = script!("release");
const READY: &str = script!("ready");
const ROUTE: &str = script!("route");
const SEATS: &str = script!("seats");

/// How long a counter outlives its node, in milliseconds.
const FAREWELL: &str = "250";

/// A Redis and a connection to it.
struct Fixture {
    server: RedisServer,
    redis: MultiplexedConnection,
}

impl Fixture {
    async fn new() -> Self {
        let server = RedisServer::start().await;
        Self { redis: server.connection().await, server }
    }

    async fn run<T: FromRedisValue>(&mut self, script: &str, keys: &[&str], arguments: &[&str]) -> T {
        let mut call = redis::cmd("EVAL");
        call.arg(script).arg(keys.len()).arg(keys).arg(arguments);
        call.query_async(&mut self.redis).await.unwrap()
    }

    /// Runs a script for the node at this address, with the keys that have these names.
    async fn node<T: FromRedisValue>(&mut self, script: &str, keys: &str, address: &str, arguments: &[&str]) -> T {
        let key = |name| match name {
            "list" => "NODE_HOST_LIST".to_owned(),
            "counter" => address.to_owned(),
            "load" | "lease" | "versions" => format!("{{k}}:{name}"),
            _ => format!("{{k}}:{name}:{address}"),
        };
        let keys: Vec<_> = keys.split(' ').map(key).collect();
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        let arguments: Vec<_> = [address].into_iter().chain(arguments.iter().copied()).collect();
        self.run(script, &keys, &arguments).await
    }

    async fn join(&mut self, address: &str, boot: &str, count: &str, lease: &str, state: &str) {
        let keys = "list counter load lease node reserved versions";
        let arguments = [boot, count, lease, state, "100", "0.1.0", "0"];
        assert!(self.node::<i64>(JOIN, keys, address, &arguments).await > 0);
    }

    async fn beat(&mut self, address: &str, boot: &str, count: &str) -> (i64, Vec<String>) {
        let keys = "counter load lease node reserved";
        let beaten: Vec<redis::Value> = self.node(BEAT, keys, address, &[boot, count, "60000", "3", "17", "0"]).await;
        let mut beaten = beaten.into_iter();
        let known = redis::from_redis_value(beaten.next().unwrap()).unwrap();
        let now: i64 = redis::from_redis_value(beaten.next().unwrap()).unwrap();
        assert!(now > 1_000_000_000_000, "{now} is not a time");
        (known, beaten.map(|address| redis::from_redis_value(address).unwrap()).collect())
    }

    async fn reap(&mut self, address: &str) -> i64 {
        self.node(REAP, "list counter load lease node reserved versions", address, &[FAREWELL]).await
    }

    async fn leave(&mut self, address: &str, boot: &str) -> i64 {
        self.node(LEAVE, "list load lease node reserved", address, &[boot]).await
    }

    async fn listed(&mut self) -> Vec<String> {
        self.redis.lrange("NODE_HOST_LIST", 0, -1).await.unwrap()
    }

    async fn count(&mut self, address: &str) -> Option<i64> {
        self.redis.get(address).await.unwrap()
    }

    async fn load(&mut self, address: &str) -> Option<i64> {
        self.redis.zscore("{k}:load", address).await.unwrap()
    }

    /// Sets when a lease ends, in milliseconds from now; a negative value means that it has ended.
    async fn lease(&mut self, address: &str, from_now: i64) {
        let expiry = self.now().await + from_now;
        self.redis.hset::<_, _, _, ()>("{k}:lease", address, expiry).await.unwrap();
    }

    /// Returns the time of the clock of Redis, in milliseconds.
    async fn now(&mut self) -> i64 {
        let (seconds, micros): (i64, i64) = redis::cmd("TIME").query_async(&mut self.redis).await.unwrap();
        seconds * 1000 + micros / 1000
    }

    async fn lease_of(&mut self, address: &str) -> Option<i64> {
        self.redis.hget("{k}:lease", address).await.unwrap()
    }

    async fn claim(&mut self, boot: &str, connection: &str, at: &str, again: &str, refuse: &str) -> i64 {
        self.claim_of_age(boot, connection, at, "0", again, refuse).await
    }

    async fn claim_of_age(
        &mut self,
        boot: &str,
        connection: &str,
        latest: &str,
        age: &str,
        again: &str,
        refuse: &str,
    ) -> i64 {
        let arguments = ["a:1", boot, connection, latest, age, again, "0", refuse, "bus:", "you lose ", "", ""];
        self.run(CLAIM, &["user"], &arguments).await
    }

    /// Claims the uid again for a connection that gets it from that one, or takes it back from that one.
    async fn claim_while_moving(&mut self, boot: &str, connection: &str, giver: &str, taker: &str) -> i64 {
        let arguments = ["a:1", boot, connection, "100", "0", "1", "0", "0", "bus:", "you lose ", giver, taker];
        self.run(CLAIM, &["user"], &arguments).await
    }

    /// Says that a connection of this node is ready for the session that the connection 1 of the node `one` has.
    async fn ready(&mut self, boot: &str, connection: &str, offer: &str) -> i64 {
        let arguments = ["bus:", "one", "1", offer, "b:1", boot, connection, "refused", "ready"];
        self.run(READY, &["user"], &arguments).await
    }

    /// Returns the node and the connection that have the user.
    async fn holder(&mut self) -> Option<(String, String)> {
        let holder: (Option<String>, Option<String>) = self.redis.hmget("user", &["boot", "connection"]).await.unwrap();
        holder.0.zip(holder.1)
    }
}

#[tokio::test]
async fn joining_twice_lists_a_node_once() {
    let mut redis = Fixture::new().await;
    for _ in 0..2 {
        redis.join("a:1", "one", "7", "60000", "ready").await;
    }
    assert_eq!(redis.listed().await, ["a:1"]);
    assert_eq!((redis.count("a:1").await, redis.load("a:1").await), (Some(7), Some(7)));
    let ttl: i64 = redis.redis.ttl("a:1").await.unwrap();
    assert_eq!(ttl, -1, "the counter expires");
    let node: Vec<String> = redis.redis.hmget("{k}:node:a:1", &["boot", "state", "capacity", "version"]).await.unwrap();
    assert_eq!(node, ["one", "ready", "100", "0.1.0"]);

    // A new process does not take over the reservations of the one before.
    redis.redis.zadd::<_, _, _, ()>("{k}:reserved:a:1", "seat", "+inf").await.unwrap();
    redis.join("a:1", "one", "7", "60000", "ready").await;
    assert_eq!(redis.load("a:1").await, Some(8));
    redis.join("a:1", "two", "0", "60000", "ready").await;
    assert_eq!((redis.listed().await, redis.load("a:1").await), (vec!["a:1".to_owned()], Some(0)));
    redis.join("a:1", "two", "0", "60000", "draining").await;
    assert_eq!((redis.listed().await, redis.count("a:1").await), (vec![], Some(0)));
}

#[tokio::test]
async fn a_beat_tells_known_unknown_and_replaced_nodes_apart() {
    let mut redis = Fixture::new().await;
    assert_eq!(redis.beat("a:1", "one", "1").await, (0, vec![]));
    assert_eq!(redis.count("a:1").await, None, "an unknown node writes nothing");
    redis.join("a:1", "one", "0", "10", "ready").await;
    redis.redis.zadd::<_, _, _, ()>("{k}:reserved:a:1", "expired", 1).await.unwrap();
    redis.redis.zadd::<_, _, _, ()>("{k}:reserved:a:1", "live", "+inf").await.unwrap();
    assert_eq!(redis.beat("a:1", "one", "5").await, (1, vec![]));
    assert_eq!((redis.count("a:1").await, redis.load("a:1").await), (Some(5), Some(6)));
    let known: (i64, i64) = redis.redis.hmget("{k}:node:a:1", &["rooms", "messages"]).await.unwrap();
    assert_eq!(known, (3, 17));
    let redeeming = ["one", "6", "60000", "3", "17", "0", "live", "unknown"];
    let _: Vec<redis::Value> = redis.node(BEAT, "counter load lease node reserved", "a:1", &redeeming).await;
    assert_eq!((redis.count("a:1").await, redis.load("a:1").await), (Some(6), Some(6)));
    assert_eq!(redis.beat("a:1", "two", "9").await, (-1, vec![]));
    assert_eq!(redis.count("a:1").await, Some(6), "a process that was replaced writes nothing");
    // A process that joined after the known one has not been replaced by it: Redis lost its join.
    let later = ["two", "9", "60000", "3", "17", "9999999999999"];
    let beaten: Vec<i64> = redis.node(BEAT, "counter load lease node reserved", "a:1", &later).await;
    assert_eq!(beaten[0], 0, "it has to join again");
}

#[tokio::test]
async fn an_expired_node_is_reaped_and_its_counter_later() {
    let mut redis = Fixture::new().await;
    for address in ["a:1", "b:1"] {
        redis.join(address, "one", "5", "60000", "ready").await;
    }
    assert_eq!(redis.reap("b:1").await, 0, "its lease is running");
    redis.lease("b:1", -1).await;
    assert_eq!(redis.beat("a:1", "one", "5").await, (1, vec!["b:1".to_owned()]));
    assert_eq!(redis.reap("b:1").await, 1);
    assert_eq!((redis.listed().await, redis.load("b:1").await), (vec!["a:1".to_owned()], None));
    assert_eq!(redis.count("b:1").await, Some(5), "gateways that read the list before still need it");
    assert_eq!(redis.beat("b:1", "one", "5").await.0, 0, "it has to join again");
    assert_eq!(redis.reap("b:1").await, 0, "too early");

    // The node comes back in between, and stays.
    redis.join("b:1", "one", "5", "60000", "ready").await;
    assert_eq!((redis.reap("b:1").await, redis.count("b:1").await), (0, Some(5)));
    redis.lease("b:1", -1).await;
    assert_eq!(redis.reap("b:1").await, 1);
    let gone = redis.lease_of("b:1").await.unwrap();
    redis.redis.hset::<_, _, _, ()>("{k}:lease", "b:1", gone + 250).await.unwrap();
    assert_eq!(redis.beat("a:1", "one", "5").await, (1, vec!["b:1".to_owned()]));
    assert_eq!(redis.reap("b:1").await, 2);
    assert_eq!((redis.count("b:1").await, redis.lease_of("b:1").await), (None, None));
    assert_eq!(redis.reap("b:1").await, 0, "nothing is left");
}

#[tokio::test]
async fn no_node_is_reaped_when_all_leases_have_expired() {
    let mut redis = Fixture::new().await;
    for address in ["a:1", "b:1", "c:1"] {
        redis.join(address, "one", "0", "60000", "ready").await;
        redis.lease(address, -1).await;
    }
    // The first heartbeat reaps no node, even if it comes from a node that has to join.
    assert_eq!(redis.beat("d:1", "one", "0").await, (0, vec![]));
    assert_eq!(redis.beat("a:1", "one", "0").await, (1, vec![]));
    for address in ["a:1", "b:1", "c:1"] {
        assert_eq!(redis.reap(address).await, 0, "{address}");
    }
    redis.lease("b:1", -1).await;
    assert_eq!(redis.beat("a:1", "one", "0").await, (1, vec!["b:1".to_owned()]));
}

#[tokio::test]
async fn only_the_process_with_the_address_sets_its_load() {
    let mut redis = Fixture::new().await;
    let keys = "counter load node reserved";
    assert_eq!(redis.node::<i64>(LOAD, keys, "a:1", &["one", "4"]).await, 0);
    redis.join("a:1", "one", "0", "60000", "ready").await;
    redis.redis.zadd::<_, _, _, ()>("{k}:reserved:a:1", "seat", "+inf").await.unwrap();
    redis.redis.zadd::<_, _, _, ()>("{k}:reserved:a:1", "other", "+inf").await.unwrap();
    assert_eq!(redis.node::<i64>(LOAD, keys, "a:1", &["one", "4"]).await, 1);
    assert_eq!((redis.count("a:1").await, redis.load("a:1").await), (Some(4), Some(6)));
    redis.redis.zadd::<_, _, _, ()>("{k}:reserved:a:1", "expired", 1).await.unwrap();
    assert_eq!(redis.node::<i64>(LOAD, keys, "a:1", &["one", "5", "seat"]).await, 1);
    assert_eq!((redis.count("a:1").await, redis.load("a:1").await), (Some(5), Some(6)));
    assert_eq!(redis.node::<i64>(LOAD, keys, "a:1", &["two", "9"]).await, 0);
    assert_eq!(redis.count("a:1").await, Some(5));
}

#[tokio::test]
async fn draining_takes_a_node_off_the_list_before_it_leaves() {
    let mut redis = Fixture::new().await;
    redis.join("a:1", "one", "5", "60000", "ready").await;
    assert_eq!(redis.node::<i64>(DRAIN, "list node", "a:1", &["two"]).await, 0);
    assert_eq!(redis.leave("a:1", "two").await, 0);
    assert_eq!(redis.listed().await, ["a:1"], "another process has taken it over");
    for _ in 0..2 {
        assert_eq!(redis.node::<i64>(DRAIN, "list node", "a:1", &["one"]).await, 1);
        assert_eq!((redis.listed().await, redis.count("a:1").await), (vec![], Some(5)));
    }
    assert_eq!(redis.redis.hget::<_, _, String>("{k}:node:a:1", "state").await.unwrap(), "draining");
    assert_eq!(redis.leave("a:1", "one").await, 1);
    assert_eq!((redis.count("a:1").await, redis.load("a:1").await), (Some(5), None));
    assert_eq!(redis.leave("a:1", "one").await, 0, "a repetition changes nothing");
    // A node that dies before it has finished is reaped by the others.
    redis.join("b:1", "one", "0", "60000", "ready").await;
    assert_eq!(redis.beat("b:1", "one", "0").await, (1, vec!["a:1".to_owned()]));
}

#[tokio::test]
async fn a_newer_connection_gets_the_uid() {
    let mut redis = Fixture::new().await;
    assert_eq!(redis.claim("one", "1", "2000", "0", "0").await, 1);
    assert_eq!(
        redis.claim("one", "2", "1990", "0", "0").await,
        1,
        "a node decides itself which of its connections is newer"
    );
    assert_eq!(redis.claim("two", "9", "1980", "0", "0").await, 0, "it is older, but arrives later");
    assert_eq!(redis.claim("two", "1", "1990", "0", "0").await, 1, "at the same time");
    assert_eq!(redis.claim("one", "2", "1991", "0", "0").await, 1);
    assert_eq!(redis.claim("two", "1", "50", "0", "0").await, 1, "another clock");
    assert_eq!(redis.holder().await.unwrap(), ("two".into(), "1".into()));
    let ttl: i64 = redis.redis.ttl("user").await.unwrap();
    assert!((86_000..=86_400).contains(&ttl), "{ttl}");

    // When claims are repeated after an outage, the later claim stands, and the earlier one loses.
    assert_eq!(redis.claim("one", "2", "40", "1", "0").await, 0);
    assert_eq!(redis.claim("two", "1", "50", "1", "0").await, 1);
    assert_eq!(redis.claim("one", "2", "60", "1", "0").await, 1);
    assert_eq!(redis.holder().await.unwrap(), ("one".into(), "2".into()));
}

/// A node does not know the time of Redis exactly.
#[tokio::test]
async fn a_claim_that_follows_another_prevails_whatever_the_clocks_say() {
    let mut redis = Fixture::new().await;
    for (fast, slow) in [(70_000, 60_000), (60_000, 70_000)] {
        let time = redis.now().await;
        let (fast, slow) = ((time + fast).to_string(), (time + slow).to_string());
        assert_eq!(redis.claim("one", "1", &fast, "0", "0").await, 1);
        assert_eq!(redis.claim_of_age("two", "1", &slow, "30000", "1", "0").await, 0, "it was made before");
        assert_eq!(redis.claim("two", "1", &slow, "0", "0").await, 1, "it was made after");
    }
    // A claim that was held up on its way for 250 ms.
    let time = redis.now().await;
    assert_eq!(redis.claim("one", "1", &(time + 60_000).to_string(), "0", "0").await, 1);
    assert_eq!(redis.claim("two", "1", &(time - 250).to_string(), "1", "0").await, 0);
}

#[tokio::test]
async fn with_refuse_an_older_connection_keeps_the_uid() {
    let server = RedisServer::start().await;
    let mut redis = Fixture { redis: server.connection().await, server };
    let (mut sink, _stream) = {
        let client = redis::Client::open(redis.server.url()).unwrap();
        client.get_async_pubsub().await.unwrap().split()
    };
    sink.subscribe("bus:one").await.unwrap();
    assert_eq!(redis.claim("one", "1", "100", "0", "1").await, 1);
    assert_eq!(redis.claim("two", "1", "200", "0", "1").await, 0);
    assert_eq!(redis.claim("one", "2", "300", "0", "1").await, 1, "a claim of the same node");
    sink.unsubscribe("bus:one").await.unwrap();
    assert_eq!(redis.claim("two", "1", "400", "0", "1").await, 1, "its node is gone");
    assert_eq!(redis.holder().await.unwrap(), ("two".into(), "1".into()));
}

/// A Redis in which the connection 1 of the node `one` has the uid, and what this node hears.
async fn before_a_move() -> (Fixture, PubSub) {
    let server = RedisServer::start().await;
    let mut redis = Fixture { redis: server.connection().await, server };
    let mut heard = redis::Client::open(redis.server.url()).unwrap().get_async_pubsub().await.unwrap();
    heard.subscribe("bus:one").await.unwrap();
    assert_eq!(redis.claim("one", "1", "100", "0", "0").await, 1);
    (redis, heard)
}

/// Returns the next message of the channel.
async fn next(heard: &mut PubSub) -> String {
    within("a message", heard.on_message().next()).await.expect("a message").get_payload().unwrap()
}

fn holder(boot: &str, connection: &str) -> (String, String) {
    (boot.to_owned(), connection.to_owned())
}

#[tokio::test]
async fn claims_of_both_nodes_change_nothing_while_a_session_moves() {
    let (mut redis, mut heard) = before_a_move().await;
    assert_eq!(redis.claim_while_moving("two", "7", "one-1", "").await, 1);
    assert_eq!(redis.holder().await, Some(holder("one", "1")), "the new node is not ready yet");
    assert_eq!(redis.ready("two", "7", "1").await, 1);
    assert_eq!(next(&mut heard).await, "ready", "nobody has lost the uid");
    assert_eq!(redis.claim_while_moving("one", "1", "", "").await, 1);
    assert_eq!(redis.holder().await, Some(holder("two", "7")));
    assert_eq!(redis.claim_while_moving("two", "7", "one-1", "").await, 1);
    assert_eq!(redis.claim_while_moving("one", "1", "", "").await, 1, "also after the new node has claimed it again");
    assert_eq!(redis.holder().await, Some(holder("two", "7")));
    assert_eq!(redis.claim_while_moving("one", "2", "", "").await, 1, "another connection of the old node");
    assert_eq!(redis.holder().await, Some(holder("one", "2")));
}

#[tokio::test]
async fn the_node_with_the_last_offer_gets_the_uid_of_a_session_that_moves() {
    for order in [["two", "three"], ["three", "two"]] {
        let (mut redis, _heard) = before_a_move().await;
        for boot in order {
            let (offer, is_ready) = if boot == "two" { ("9", i64::from(order[0] == "two")) } else { ("10", 1) };
            assert_eq!(redis.ready(boot, "7", offer).await, is_ready, "{boot} of {order:?}");
        }
        assert_eq!(redis.holder().await, Some(holder("three", "7")));
        // The old node refuses the other one, which must not take the uid from this one.
        assert_eq!(redis.claim_while_moving("one", "1", "", "two-7").await, 1);
        assert_eq!(redis.run::<i64>(RELEASE, &["user"], &["two", "7"]).await, 0);
        assert_eq!(redis.holder().await, Some(holder("three", "7")));
    }
}

#[tokio::test]
async fn an_old_node_that_keeps_a_session_takes_the_uid_back() {
    for is_released in [false, true] {
        let (mut redis, mut heard) = before_a_move().await;
        assert_eq!(redis.ready("two", "7", "1").await, 1);
        if is_released {
            assert_eq!(redis.run::<i64>(RELEASE, &["user"], &["two", "8"]).await, 0, "another connection");
            assert_eq!(redis.run::<i64>(RELEASE, &["user"], &["two", "7"]).await, 1);
        }
        assert_eq!(redis.claim_while_moving("one", "1", "", "two-7").await, 1);
        assert_eq!(redis.run::<i64>(RELEASE, &["user"], &["two", "7"]).await, 0);
        assert_eq!(redis.holder().await, Some(holder("one", "1")));
        assert_eq!(next(&mut heard).await, "ready");
        // A newer connection of the node that has released it keeps the uid, and the old one loses.
        assert_eq!(redis.ready("two", "7", "2").await, 1);
        let later = (redis.now().await + 900).to_string();
        assert_eq!(redis.claim("two", "8", &later, "0", "0").await, 1);
        assert_eq!(redis.claim_while_moving("one", "1", "", "two-7").await, 0);
        assert_eq!(redis.holder().await, Some(holder("two", "8")));
    }
}

#[tokio::test]
async fn only_its_own_node_releases_a_claim() {
    let mut redis = Fixture::new().await;
    assert_eq!(redis.run::<i64>(RELEASE, &["user"], &["one"]).await, 0);
    redis.claim("one", "1", "100", "0", "0").await;
    assert_eq!(redis.run::<i64>(RELEASE, &["user"], &["two"]).await, 0);
    assert!(redis.holder().await.is_some());
    assert_eq!(redis.run::<i64>(RELEASE, &["user"], &["one"]).await, 1);
    assert_eq!(redis.holder().await, None);
}

#[tokio::test]
async fn a_message_to_a_user_goes_to_their_node() {
    use futures_util::StreamExt;

    let mut redis = Fixture::new().await;
    let client = redis::Client::open(redis.server.url()).unwrap();
    let (mut sink, mut stream) = client.get_async_pubsub().await.unwrap().split();
    sink.subscribe("bus:one").await.unwrap();
    assert_eq!(redis.run::<i64>(ROUTE, &["user"], &["bus:", "hello"]).await, 0);
    redis.claim("one", "17", "100", "0", "0").await;
    assert_eq!(redis.run::<i64>(ROUTE, &["user"], &["bus:", "hello"]).await, 1);
    assert_eq!(stream.next().await.unwrap().get_payload::<String>().unwrap(), "hello");
    // The script that replaces the holder sends the message itself.
    redis.claim("two", "1", "200", "0", "0").await;
    assert_eq!(stream.next().await.unwrap().get_payload::<String>().unwrap(), "you lose 17");
}

#[tokio::test]
async fn a_seat_is_found_behind_many_rooms_of_a_node_that_is_gone() {
    let mut fixture = Fixture::new().await;
    for address in ["gone:1", "host:1", "own:1"] {
        fixture.join(address, "b", "0", "60000", "ready").await;
    }
    // A request for one seat always opens a new room, which has a free seat for requests for two.
    let rooms = (0..50).map(|number| ("gone:1|b", format!("duo-z{number}"))).chain([("host:1|b", "duo-a".into())]);
    for (node, room) in rooms {
        let taken: Vec<redis::Value> =
            fixture.run(SEATS, &["{k}:lease"], &["take", node, "", "duo-", &room, "1", &room, "1"]).await;
        assert_eq!(taken.len(), 4);
    }
    fixture.lease("gone:1", -1).await;
    let (taken, room, _, host): (i64, String, String, String) =
        fixture.run(SEATS, &["{k}:lease"], &["take", "own:1|b", "", "duo-", "duo-new", "2", "ada", "1"]).await;
    assert_eq!((taken, &*room, &*host), (1, "duo-a", "host:1"));
}
