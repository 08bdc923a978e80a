//! The end of a loop in a cluster in Redis.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use kengine::{
    Connection, Error, Hub,
    cluster::{Memory, Redis},
    room::{GameLoop, LoopRoom, Start},
};
use kengine_tests::{Client, RedisServer, TestServer, until, without_rates};
use redis::AsyncCommands;

/// A match that is over when a player says so.
struct Match {
    has_moved: bool,
}

impl GameLoop for Match {
    type Message = ();
    /// Whether it ran before.
    type Reply = bool;
    type Saved = ();
    const TICK: Duration = Duration::MAX;

    fn start(_: &LoopRoom<'_>, start: Start<()>) -> Self {
        Self { has_moved: start != Start::Created }
    }

    fn message(&mut self, room: &LoopRoom<'_>, (): ()) -> bool {
        room.end();
        self.has_moved
    }

    fn save(&self) -> Option<()> {
        Some(())
    }
}

struct Ring;

#[kengine::dispatcher]
impl Ring {
    #[route]
    async fn play(&self, hub: &Hub, connection: &Connection) -> Result<(), Error> {
        hub.room("ring").join(connection).await?;
        Ok(hub.room("ring").run::<Match>().await?)
    }

    #[route]
    async fn finish(&self, hub: &Hub) -> Result<bool, Error> {
        Ok(hub.room("ring").ask::<Match>(&()).await?)
    }
}

#[tokio::test]
async fn a_loop_that_is_over_starts_as_a_new_one_on_any_node() {
    let redis = RedisServer::start().await;
    let node = || without_rates(Ring).cluster(Redis::new(redis.url()));
    let nodes: [TestServer; 2] = [redis.serve(node()).await, redis.serve(node()).await];
    let mut players = Vec::new();
    for node in &nodes {
        players.push(Client::connect_to(node.address(), "/ws").await);
    }
    let mut directory = redis.connection().await;
    for round in 0..4 {
        for player in [round % 2, 1 - round % 2] {
            assert_eq!(players[player].ask(r#"{"method":"play","message":null,"id":1}"#).await, "1: null");
        }
        // A player of the other node ends it.
        let finish = r#"{"method":"finish","message":null,"id":2}"#;
        assert_eq!(players[1 - round % 2].ask(finish).await, "2: false", "round {round}: it is not a new one");
        until("the end of the loop", async || {
            let is_known: bool = directory.exists("{kengine}:loop:ring").await.unwrap();
            let runs = nodes.iter().map(|node| node.hub().game_loops()).sum::<usize>();
            (!is_known && runs == 0).then_some(())
        })
        .await;
    }
    drop(players);
    for node in nodes {
        node.stop().await;
    }
}

/// How long `Slow` takes for its start or its end.
const PAUSE: Duration = Duration::from_millis(300);

/// A loop that takes its time to end.
struct Slow;

/// How many loops of the type `Slow` are at their end.
static AT_THEIR_END: AtomicUsize = AtomicUsize::new(0);

impl GameLoop for Slow {
    type Message = ();
    type Reply = ();
    type Saved = ();
    const TICK: Duration = Duration::MAX;
    const LINGER: Duration = Duration::from_millis(100);

    fn start(_: &LoopRoom<'_>, _: Start<()>) -> Self {
        Self
    }

    fn message(&mut self, room: &LoopRoom<'_>, (): ()) {
        room.end();
    }

    fn ended(&mut self, room: &LoopRoom<'_>) {
        if room.name() != "calm" {
            AT_THEIR_END.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(PAUSE);
        }
    }
}

/// A loop that takes its time to start, and panics.
struct Broken;

/// Whether a loop of the type `Broken` has begun to start.
static STARTS: AtomicBool = AtomicBool::new(false);

impl GameLoop for Broken {
    type Message = ();
    type Reply = ();
    type Saved = ();
    const TICK: Duration = Duration::MAX;

    fn start(_: &LoopRoom<'_>, _: Start<()>) -> Self {
        STARTS.store(true, Ordering::SeqCst);
        std::thread::sleep(PAUSE);
        panic!("as wanted");
    }

    fn message(&mut self, _: &LoopRoom<'_>, (): ()) {}
}

/// Runs these loops in the rooms of its players.
struct Field;

#[kengine::dispatcher]
impl Field {
    #[route]
    async fn play(&self, hub: &Hub, connection: &Connection, room: String) -> Result<(), Error> {
        hub.room(&room).join(connection).await?;
        Ok(hub.room(&room).run::<Slow>().await?)
    }

    #[route]
    async fn leave(&self, hub: &Hub, connection: &Connection, room: String) -> bool {
        hub.room(room).leave(connection)
    }

    #[route]
    async fn finish(&self, hub: &Hub, room: String) -> Result<(), Error> {
        Ok(hub.room(room).ask::<Slow>(&()).await?)
    }

    #[route]
    async fn play_broken(&self, hub: &Hub, connection: &Connection) -> Result<(), Error> {
        hub.room("broken").join(connection).await?;
        Ok(hub.room("broken").run::<Broken>().await?)
    }

    #[route]
    async fn ask_broken(&self, hub: &Hub) -> Result<(), Error> {
        Ok(hub.room("broken").ask::<Broken>(&()).await?)
    }
}

fn request(method: &str, message: &str) -> String {
    format!(r#"{{"method":"{method}","message":{message},"id":1}}"#)
}

async fn field() -> (RedisServer, [TestServer; 2], [Client; 2]) {
    let redis = RedisServer::start().await;
    let node = || without_rates(Field).cluster(Redis::new(redis.url()));
    let nodes: [TestServer; 2] = [redis.serve(node()).await, redis.serve(node()).await];
    let players =
        [Client::connect_to(nodes[0].address(), "/ws").await, Client::connect_to(nodes[1].address(), "/ws").await];
    (redis, nodes, players)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_at_the_end_of_a_loop_starts_a_new_one() {
    let (_redis, nodes, [mut ada, bob]) = field().await;
    assert_eq!(ada.ask(request("play", r#""again""#)).await, "1: null");
    for _ in 0..3 {
        assert_eq!(ada.ask(request("finish", r#""again""#)).await, "1: null");
        // `ended` runs now.
        assert_eq!(ada.ask(request("play", r#""again""#)).await, "1: null");
        assert_eq!(nodes[0].hub().game_loops(), 1);
    }
    assert_eq!(ada.ask(request("finish", r#""again""#)).await, "1: null", "no new loop has started");
    until("the end", async || (nodes[0].hub().game_loops() == 0).then_some(())).await;
    drop((ada, bob));
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_player_who_joins_when_a_lonely_loop_ends_gets_a_new_one() {
    let (_redis, nodes, mut players) = field().await;
    for (room, comes) in [(r#""here""#, 0), (r#""there""#, 1)] {
        assert_eq!(players[0].ask(request("play", room)).await, "1: null");
        // Both nodes know where the loop runs.
        assert_eq!(players[1].ask(request("play", room)).await, "1: null");
        assert_eq!(players[1].ask(request("leave", room)).await, "1: true");
        let before = AT_THEIR_END.load(Ordering::SeqCst);
        assert_eq!(players[0].ask(request("leave", room)).await, "1: true");
        until("the end of the loop", async || (AT_THEIR_END.load(Ordering::SeqCst) > before).then_some(())).await;
        assert_eq!(players[comes].ask(request("play", room)).await, "1: null");
        // On another node, the new loop starts when that node hears of the end.
        until("a loop", async || (players[comes].ask(request("finish", room)).await == "1: null").then_some(())).await;
        assert_eq!(players[comes].ask(request("leave", room)).await, "1: true");
    }
    drop(players);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn questions_of_another_node_at_the_end_of_a_loop_are_refused_and_do_not_wait() {
    let (_redis, nodes, [mut ada, mut bob]) = field().await;
    for _ in 0..20 {
        for player in [&mut ada, &mut bob] {
            assert_eq!(player.ask(request("play", r#""calm""#)).await, "1: null");
        }
        // The first question ends the loop.
        for _ in 0..10 {
            bob.send(request("finish", r#""calm""#)).await;
        }
        let mut answers = Vec::new();
        for _ in 0..10 {
            answers.push(bob.next().await);
        }
        assert_eq!(answers[0], "1: null");
        assert!(answers[1..].iter().all(|answer| answer == "1: error unavailable"), "{answers:?}");
        until("the end", async || (nodes[0].hub().game_loops() == 0).then_some(())).await;
    }
    drop((ada, bob));
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn questions_to_a_loop_that_cannot_start_are_refused_and_do_not_wait() {
    // In memory, so that the question is in the queue of the loop at once.
    let cluster = Memory::new();
    let node = || TestServer::start(without_rates(Field).cluster(&cluster));
    let nodes = [node().await, node().await];
    let mut ada = Client::connect_to(nodes[0].address(), "/ws").await;
    let mut bob = Client::connect_to(nodes[1].address(), "/ws").await;
    ada.send(request("play_broken", "null")).await;
    until("the start", async || STARTS.load(Ordering::SeqCst).then_some(())).await;
    // The question comes while the loop starts, and must not wait until it times out.
    assert_eq!(bob.ask(request("ask_broken", "null")).await, "1: error unavailable");
    assert_eq!(ada.next().await, "1: null");
    assert_eq!(ada.ask(request("ask_broken", "null")).await, "1: error unavailable");
    drop((ada, bob));
    for node in nodes {
        node.stop().await;
    }
}
