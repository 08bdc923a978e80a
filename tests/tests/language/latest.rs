//! `latest` pushes: only the newest push of each key waits, and a client never reads an older push after a newer one.

use kengine::{Push, Server, push::SendError, testing};
use kengine_tests::{TestServer, Workshop, within};
use serde::{Deserialize, Serialize};
use tokio::task::yield_now;

#[derive(Serialize, Deserialize, Push)]
#[push("position", latest(player))]
struct Position {
    player: u32,
    step: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    ballast: String,
}

impl Position {
    fn new(player: u32, step: u32) -> Self {
        Self { player, step, ballast: String::new() }
    }
}

/// A reliable push: each arrives.
#[derive(Serialize, Deserialize, Push)]
struct Hit {
    number: u32,
}

/// A `latest` push without a key: at most one waits.
#[derive(Serialize, Deserialize, Push)]
#[push(latest)]
struct Score {
    points: u32,
}

/// A `latest` push with two fields in its key.
#[derive(Serialize, Deserialize, Push)]
#[push(latest(team, name))]
struct Flag {
    team: String,
    name: String,
    step: u32,
}

/// What a client has received so far.
#[derive(Default)]
struct Seen {
    /// The last step of each player.
    steps: Vec<u32>,
    positions: usize,
    hits: u32,
}

impl Seen {
    fn of(players: usize) -> Self {
        Self { steps: vec![0; players], ..Self::default() }
    }

    /// Checks one push.
    fn look(&mut self, text: &str) {
        #[derive(Deserialize)]
        #[serde(tag = "method", content = "message", rename_all = "lowercase")]
        enum Any {
            Position(Position),
            Hit(Hit),
        }
        match serde_json::from_str(text).expect("a push") {
            Any::Position(Position { player, step, .. }) => {
                let last = &mut self.steps[player as usize];
                assert!(step > *last, "player {player}: step {step} after step {last}");
                *last = step;
                self.positions += 1;
            }
            Any::Hit(Hit { number }) => {
                assert_eq!(number, self.hits, "a hit is missing, or came twice");
                self.hits += 1;
            }
        }
    }
}

/// The test runs on one thread, so everything is sent before the connection's task runs.
#[tokio::test(start_paused = true)]
async fn the_newest_of_each_key_waits_in_the_first_ones_place() {
    const STEPS: u32 = 20;
    // Few, more and far more frames than those that are searched one by one for a key.
    for players in [1, 2, 31, 32, 33, 34, 100, 800] {
        let game = testing::serve(Server::new(Workshop::default()));
        let mut client = game.connect("/ws").await.unwrap();
        let connection = game.dispatcher().guest();
        let mut hits = 0;
        for step in 1..=STEPS {
            for player in 0..players {
                connection.send(&Position::new(player, step)).expect("one of each player waits");
            }
            connection.send(&Hit { number: hits }).expect("room in the outbox");
            hits += 1;
        }
        assert_eq!(connection.queued().pushes, (players + hits) as usize);
        let mut expected: Vec<_> = (0..players)
            .map(|player| format!(r#"{{"method":"position","message":{{"player":{player},"step":{STEPS}}}}}"#))
            .collect();
        expected.extend((0..hits).map(|hit| format!(r#"{{"method":"hit","message":{{"number":{hit}}}}}"#)));
        for expected in expected {
            assert_eq!(client.next_text().await.unwrap(), expected, "{players} players");
        }
        assert_eq!(connection.queued().pushes, 0);
        // A push that has been read no longer waits.
        connection.send(&Position::new(0, STEPS + 1)).unwrap();
        assert_eq!(client.push::<Position>().await.step, STEPS + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rare_reader_sees_the_newest_and_nothing_older_after() {
    const PLAYERS: u32 = 200;
    const SENDERS: u32 = 4;
    const BURSTS: u32 = 60;
    /// The steps of each player in a burst.
    const STEPS: u32 = 10;
    /// The size at which the waiting pushes together exceed the 64 KiB that are taken at once.
    const BALLAST: usize = 500;
    let workshop = Workshop::default();
    let server = TestServer::start(Server::new(workshop.clone())).await;
    let (mut client, connection) = workshop.connect(&server).await;
    let mut seen = Seen::of(PLAYERS as usize);
    let mut sent_hits = 0;
    for burst in 0..BURSTS {
        // Each player's steps come from one task.
        let sending: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let connection = connection.clone();
                tokio::spawn(async move {
                    for step in burst * STEPS + 1..=(burst + 1) * STEPS {
                        for player in (sender..PLAYERS).step_by(SENDERS as usize) {
                            let position = Position { player, step, ballast: "x".repeat(BALLAST) };
                            connection.send(&position).expect("one of each player waits");
                        }
                        yield_now().await;
                    }
                })
            })
            .collect();
        for _ in 0..5 {
            connection.send(&Hit { number: sent_hits }).expect("room in the outbox");
            sent_hits += 1;
            yield_now().await;
        }
        // The client reads some pushes meanwhile, fewer than were sent.
        for _ in 0..burst % 7 * 10 {
            seen.look(&client.frame().await);
        }
        for sending in sending {
            within("a sender", sending).await.expect("no panic");
        }
    }
    // This push is reliable, so everything that was sent before it has come when it comes.
    connection.send(&Hit { number: sent_hits }).expect("room in the outbox");
    while seen.hits <= sent_hits {
        seen.look(&client.frame().await);
    }
    assert_eq!(seen.steps, [BURSTS * STEPS; PLAYERS as usize]);
    let sent = (PLAYERS * BURSTS * STEPS) as usize;
    assert!(seen.positions < sent, "no push replaced another");
    drop(client);
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_push_that_grows_in_its_place_is_bounded() {
    const BYTES: usize = 4000;
    let game = testing::serve(Server::new(Workshop::default()).max_outbox_pushes(3).max_outbox_size(BYTES));
    let mut client = game.connect("/ws").await.unwrap();
    let connection = game.dispatcher().guest();
    connection.send(&Position::new(1, 0)).unwrap();
    connection.send(&Hit { number: 0 }).unwrap();
    connection.send(&Position::new(2, 0)).unwrap();
    let small = connection.queued();
    assert_eq!(small.pushes, 3);
    // A push that replaces another may grow although the outbox is full, up to the limit in bytes.
    let grown = |bytes| Position { player: 1, step: 1, ballast: "x".repeat(bytes) };
    let mut largest = 0;
    for bytes in [10, 500, 2000, 1] {
        connection.send(&grown(bytes)).expect("room for a larger one");
        assert_eq!(connection.queued().pushes, 3);
        largest = largest.max(connection.queued().bytes);
    }
    assert!(largest > 2000);
    connection.send(&grown(1000)).unwrap();
    let rest = BYTES - connection.queued().bytes;
    connection.send(&grown(1000 + rest)).expect("exactly the limit");
    assert_eq!(connection.queued().bytes, BYTES);
    // Everything arrives. The push that has grown is still the first.
    assert_eq!(client.push::<Position>().await.ballast.len(), 1000 + rest);
    assert_eq!(client.push::<Hit>().await.number, 0);
    assert_eq!(client.push::<Position>().await.player, 2);

    // A push that fits into no outbox is an error of the sender and closes no connection.
    assert!(matches!(connection.send(&grown(BYTES)), Err(SendError::TooLarge(_))));
    assert!(matches!(game.hub().all().send(&grown(BYTES)), Err(SendError::TooLarge(_))));
    client.ping().await;
    connection.send(&Position { player: 2, step: 2, ballast: "x".repeat(BYTES / 2) }).unwrap();
    connection.send(&grown(1)).unwrap();
    assert!(matches!(connection.send(&grown(BYTES / 2)), Err(SendError::TooSlow)));
    assert_eq!(client.closed().await.expect("a code").code().get(), 4002);
}

#[tokio::test(start_paused = true)]
async fn keys_differ_by_all_their_fields_and_by_their_push() {
    let game = testing::serve(Server::new(Workshop::default()));
    let mut client = game.connect("/ws").await.unwrap();
    let connection = game.dispatcher().guest();
    let keys = [("a", "bc"), ("ab", "c"), ("abc", ""), ("", "abc"), ("a", "b"), ("b", "a")];
    for step in 0..3 {
        for (team, name) in keys {
            connection.send(&Flag { team: team.to_owned(), name: name.to_owned(), step }).unwrap();
        }
        connection.send(&Score { points: step }).unwrap();
        connection.send(&Position::new(0, step)).unwrap();
    }
    for key in keys {
        let Flag { team, name, step } = client.push().await;
        assert_eq!(((&*team, &*name), step), (key, 2));
    }
    assert_eq!(client.push::<Score>().await.points, 2);
    assert_eq!(client.push::<Position>().await.step, 2);
    client.heartbeat().await;
    assert_eq!(client.next_text().await.as_deref(), Some("q"), "a push came that should have been replaced");
}
