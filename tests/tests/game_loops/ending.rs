//! The end of a loop in a cluster in Redis.

use std::time::Duration;

use kengine::{
    Connection, Error, Hub,
    cluster::Redis,
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
