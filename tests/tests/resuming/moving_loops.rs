//! Game loops are not told that a player has left whose session moves to another node, if that node runs the loop.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use kengine::{
    Connection, Error, Handshake, Hub, Refusal, Server, Session, Uid,
    cluster::Redis,
    room::{GameLoop, LoopRoom, Start},
};
use kengine_tests::{RedisServer, ReturningClient, TestServer, until};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::sleep;

/// What the loops of all nodes were told: the room, and what.
static TOLD: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// Returns what the loop of this room was told.
fn told(room: &str) -> Vec<String> {
    TOLD.lock().unwrap().iter().filter(|(name, _)| name == room).map(|(_, what)| what.clone()).collect()
}

/// Waits until the loop of this room was told this last.
async fn told_last(room: &str, what: &str) {
    until(what, async || told(room).last().is_some_and(|last| last == what).then_some(())).await;
}

#[derive(Serialize, Deserialize)]
struct Match {
    players: Vec<Uid>,
}

impl Match {
    fn note(room: &LoopRoom<'_>, what: impl Into<String>) {
        TOLD.lock().unwrap().push((room.name().to_owned(), what.into()));
    }
}

impl GameLoop for Match {
    type Message = ();
    type Reply = ();
    type Saved = Vec<Uid>;
    const TICK: Duration = Duration::from_millis(20);

    fn start(room: &LoopRoom<'_>, start: Start<Self::Saved>) -> Self {
        let players = start.saved().unwrap_or_default();
        Self::note(room, if players.is_empty() { "start" } else { "move" });
        Self { players }
    }

    fn message(&mut self, _: &LoopRoom<'_>, (): ()) {}

    fn joined(&mut self, room: &LoopRoom<'_>, player: &Uid) {
        self.players.push(player.clone());
        Self::note(room, format!("joined {player}"));
    }

    fn left(&mut self, room: &LoopRoom<'_>, player: &Uid) {
        self.players.retain(|known| known != player);
        Self::note(room, format!("left {player}"));
    }

    fn save(&self) -> Option<Self::Saved> {
        Some(self.players.clone())
    }
}

/// Players who play in the room that their session names.
#[derive(Clone, Debug, Default)]
struct League {
    resumed: Arc<Mutex<usize>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Athlete {
    uid: Uid,
    room: String,
}

impl Session for Athlete {
    fn uid(&self) -> Option<Uid> {
        Some(self.uid.clone())
    }
}

#[kengine::dispatcher]
impl League {
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<Athlete, Refusal> {
        let uid = Uid::new(handshake.query("uid").unwrap_or_default())?;
        Ok(Athlete { uid, room: handshake.query("plays").unwrap_or_default().into_owned() })
    }

    #[route]
    async fn play(&self, hub: &Hub, connection: &Connection<Athlete>, athlete: &Athlete) -> Result<(), Error> {
        let room = hub.room(&athlete.room);
        room.join(connection).await?;
        Ok(room.run::<Match>().await?)
    }

    #[resume]
    async fn resume(&self, hub: &Hub, athlete: &Athlete) -> Result<(), Error> {
        // As slow as a read from a database.
        sleep(Duration::from_millis(300)).await;
        hub.room(&athlete.room).run::<Match>().await?;
        *self.resumed.lock().unwrap() += 1;
        Ok(())
    }
}

async fn serve(league: &League, redis: &RedisServer) -> TestServer {
    let server = Server::new(league.clone()).resume_within(Duration::from_secs(3600)).hand_over();
    redis.serve(server.drain_timeout(Duration::from_secs(8)).cluster(Redis::new(redis.url()))).await
}

/// Moves ada to a node that does not know the loop, which another node runs, or the one that she leaves.
async fn move_ada(room: &str, runs_elsewhere: bool) {
    let (redis, league) = (RedisServer::start().await, League::default());
    let (mut old, new, other) =
        (serve(&league, &redis).await, serve(&league, &redis).await, serve(&league, &redis).await);
    let path = |uid: &str| format!("/ws?uid={uid}&plays={room}");
    let mut expected = vec!["start".to_owned()];
    let mut bob = None;
    if runs_elsewhere {
        let mut player = ReturningClient::connect_to(other.address(), &path("bob")).await;
        assert_eq!(player.ask("play", Value::Null, 1).await, "1: null");
        expected.push("joined bob".to_owned());
        bob = Some(player);
    }
    let mut ada = ReturningClient::connect_to(old.address(), &path("ada")).await;
    assert_eq!(ada.ask("play", Value::Null, 1).await, "1: null");
    told_last(room, "joined ada").await;
    expected.push("joined ada".to_owned());
    old.shut_down();
    ada.expect("close 4000").await;
    ada.cut();
    ada.come_back_to(new.address());
    assert!(ada.come_back().await);
    until("`#[resume]`", async || (*league.resumed.lock().unwrap() == 1).then_some(())).await;
    old.ended().await;
    if !runs_elsewhere {
        told_last(room, "move").await;
        expected.push("move".to_owned());
    }
    assert_eq!(told(room), expected, "she was never away");
    ada.leave().await;
    told_last(room, "left ada").await;
    expected.push("left ada".to_owned());
    assert_eq!(told(room), expected);
    if let Some(mut bob) = bob {
        bob.leave().await;
    }
    new.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn the_loop_of_another_node_is_not_told_of_a_move() {
    move_ada("elsewhere", true).await;
}

#[tokio::test]
async fn the_loop_of_the_node_that_drains_is_not_told_of_a_move() {
    move_ada("here", false).await;
}
