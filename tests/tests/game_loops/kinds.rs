//! A room runs one kind of loop at a time, on whichever nodes its players ask for others.

use std::{marker::PhantomData, time::Duration};

use kengine::{
    Connection, Error, Hub,
    cluster::{Memory, Redis},
    room::{GameLoop, GameLoopError, LoopRoom, Start},
};
use kengine_tests::{Client, RedisServer, TestServer, until, without_rates};
use serde::{Deserialize, Serialize};

struct Chess;
struct Cards;

trait Game: Send + 'static {
    const NAME: &'static str;
}

impl Game for Chess {
    const NAME: &'static str = "chess";
}

impl Game for Cards {
    const NAME: &'static str = "cards";
}

/// A loop that counts its messages. The loops of both games save the same type.
struct Board<G> {
    messages: u32,
    game: PhantomData<G>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Move {
    Next,
    Last,
}

impl<G: Game> GameLoop for Board<G> {
    type Message = Move;
    type Reply = String;
    type Saved = u32;
    const TICK: Duration = Duration::MAX;

    fn start(_: &LoopRoom<'_>, start: Start<u32>) -> Self {
        Self { messages: start.saved().unwrap_or_default(), game: PhantomData }
    }

    fn message(&mut self, room: &LoopRoom<'_>, message: Move) -> String {
        self.messages += 1;
        if let Move::Last = message {
            room.end();
        }
        format!("{} {}", G::NAME, self.messages)
    }

    fn save(&self) -> Option<u32> {
        Some(self.messages)
    }
}

struct Club;

async fn play<G: Game>(hub: &Hub, connection: &Connection, room: &str, next: Move) -> Result<String, Error> {
    let room = hub.room(room);
    room.join(connection).await?;
    room.run::<Board<G>>().await?;
    Ok(room.ask::<Board<G>>(&next).await?)
}

#[kengine::dispatcher]
impl Club {
    #[route]
    async fn chess(&self, hub: &Hub, connection: &Connection, (room, next): (String, Move)) -> Result<String, Error> {
        play::<Chess>(hub, connection, &room, next).await
    }

    #[route]
    async fn cards(&self, hub: &Hub, connection: &Connection, (room, next): (String, Move)) -> Result<String, Error> {
        play::<Cards>(hub, connection, &room, next).await
    }

    /// Asks the loop without having run it.
    #[route]
    async fn ask_chess(&self, hub: &Hub, (room, next): (String, Move)) -> Result<String, Error> {
        Ok(hub.room(room).ask::<Board<Chess>>(&next).await?)
    }

    #[route]
    async fn ask_cards(&self, hub: &Hub, (room, next): (String, Move)) -> Result<String, Error> {
        Ok(hub.room(room).ask::<Board<Cards>>(&next).await?)
    }
}

async fn answer(player: &mut Client, game: &str, room: &str, next: &str) -> String {
    player.ask(format!(r#"{{"method":"{game}","message":["{room}","{next}"],"id":1}}"#)).await
}

/// Repeats a move until it is known where the loop runs, and returns the answer.
async fn plays(player: &mut Client, game: &str, room: &str, next: &str) -> String {
    until("a loop", async || {
        let answer = answer(player, game, room, next).await;
        (answer != "1: error unavailable").then_some(answer)
    })
    .await
}

#[test]
fn a_kind_is_the_name_of_the_type_and_its_arguments_without_paths() {
    assert_eq!(Board::<Chess>::kind(), "Board<Chess>");
    assert_eq!(Board::<Cards>::kind(), "Board<Cards>");
}

/// Two nodes in memory, and two in Redis.
async fn clusters(redis: &RedisServer) -> [[TestServer; 2]; 2] {
    let memory = Memory::new();
    let in_memory = || TestServer::start(without_rates(Club).cluster(&memory));
    let in_redis = || redis.serve(without_rates(Club).cluster(Redis::new(redis.url()).lease(Duration::from_secs(2))));
    [[in_memory().await, in_memory().await], [in_redis().await, in_redis().await]]
}

#[tokio::test]
async fn a_loop_is_taken_over_only_by_its_own_kind() {
    let redis = RedisServer::start().await;
    for [mut leaves, stays] in clusters(&redis).await {
        let mut ada = Client::connect_to(leaves.address(), "/ws").await;
        let mut bob = Client::connect_to(stays.address(), "/ws").await;
        assert_eq!(plays(&mut ada, "chess", "club", "Next").await, "1: \"chess 1\"");
        // From now on Bob's node is ready to take over a game of chess.
        assert_eq!(plays(&mut bob, "chess", "club", "Next").await, "1: \"chess 2\"");
        assert_eq!(plays(&mut ada, "chess", "club", "Last").await, "1: \"chess 3\"");
        assert_eq!(plays(&mut ada, "cards", "club", "Next").await, "1: \"cards 1\"");
        leaves.shut_down();
        assert_eq!(ada.next().await, "close 4000");
        leaves.ended().await;
        // His node has heard of the cards, and could have taken them over.
        for _ in 0..2 {
            assert_eq!(plays(&mut bob, "chess", "club", "Next").await, "1: error bad_request");
            assert_eq!(stays.hub().game_loops(), 0);
        }
        let refused = until("an answer about the lease", async || {
            let run = stays.hub().room("club").run::<Board<Chess>>().await;
            run.err().filter(|error| !matches!(error, GameLoopError::Unavailable))
        })
        .await;
        assert!(matches!(&refused, GameLoopError::OtherKind(kind) if *kind == Board::<Cards>::kind()), "{refused}");
        assert_eq!(plays(&mut bob, "cards", "club", "Next").await, "1: \"cards 2\"");
        assert_eq!(plays(&mut bob, "chess", "club", "Next").await, "1: error bad_request");
        assert_eq!(plays(&mut bob, "cards", "club", "Last").await, "1: \"cards 3\"");
        assert_eq!(plays(&mut bob, "chess", "club", "Next").await, "1: \"chess 1\"");
        drop(bob);
        stays.stop().await;
    }
}

#[tokio::test]
async fn another_kind_is_refused_while_a_loop_runs_and_starts_when_it_is_over() {
    let redis = RedisServer::start().await;
    for nodes in clusters(&redis).await {
        let mut players = Vec::new();
        for node in &nodes {
            players.push(Client::connect_to(node.address(), "/ws").await);
        }
        let mut games = ["chess", "cards"];
        for round in 0..6 {
            let [game, other] = games;
            let (one, two) = (round % 2, 1 - round % 2);
            let begun = until("a new loop", async || {
                // The other node may not have heard yet that the last loop is over.
                let answer = answer(&mut players[one], game, "club", "Next").await;
                (!answer.starts_with("1: error")).then_some(answer)
            })
            .await;
            assert_eq!(begun, format!("1: \"{game} 1\""));
            let question = format!("ask_{other}");
            for player in [one, two] {
                assert_eq!(plays(&mut players[player], &question, "club", "Last").await, "1: error bad_request");
            }
            for player in [two, one, two] {
                assert_eq!(plays(&mut players[player], other, "club", "Next").await, "1: error bad_request");
            }
            assert_eq!(plays(&mut players[two], game, "club", "Next").await, format!("1: \"{game} 2\""));
            // This does not change what the node stands by for.
            assert_eq!(plays(&mut players[two], other, "club", "Next").await, "1: error bad_request");
            assert_eq!(plays(&mut players[two], game, "club", "Last").await, format!("1: \"{game} 3\""));
            games.swap(0, 1);
        }
        drop(players);
        for node in nodes {
            node.stop().await;
        }
    }
}
