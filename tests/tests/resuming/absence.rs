//! What a player costs who does not come back: at most what an outbox holds, and only for the time allowed.

use std::time::Duration;

use kengine_tests::{RedisServer, ReturningClient, Told, until};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::node::Node;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// The pause between two looks at the node.
const PAUSE: Duration = Duration::from_millis(10);
/// How long a session waits for its player: longer than a slow machine takes to fill all outboxes.
const WITHIN: Duration = Duration::from_secs(20);
/// Together, these pushes reach both limits of an outbox by default: 1,024 pushes and 256 KiB.
const PARCELS: usize = 1024;
const FRAME: usize = 256;
/// The payload of such a frame, whose header has 4 bytes.
const PARCEL: usize = FRAME - 4;
const PLAYERS: usize = 40;
/// What an outbox needs for a push besides its frame: an entry, and what the allocator adds to both.
const ENTRY: usize = 96;

/// Players who are away.
struct Absence<'a> {
    node: &'a Node,
    clients: Vec<ReturningClient>,
    /// When the first of them was cut.
    begun: Instant,
    /// The resident memory of the node then.
    before: usize,
}

impl<'a> Absence<'a> {
    /// Connects players, each to the room with this name, and cuts their connections when they have acknowledged all.
    async fn begin(node: &'a Node, room: impl Fn(usize) -> String) -> Self {
        let mut clients = Vec::new();
        for number in 0..PLAYERS {
            let mut client = ReturningClient::connect_to(node.address(), &format!("/ws?name={number}")).await;
            assert_eq!(client.ask("board", room(number), 1).await, "1: null");
            clients.push(client);
        }
        for client in &mut clients {
            // The answer comes after the pushes of those who have joined.
            assert_eq!(client.ask("echo", 2, 2).await, "2: 2");
            client.acknowledge();
        }
        let begun = Instant::now();
        for client in &mut clients {
            client.socket().stop_writing().await;
        }
        let before = node.process.resident();
        let absence = Self { node, clients, begun, before };
        absence.away(PLAYERS).await;
        absence
    }

    /// Waits until this many players are away.
    async fn away(&self, players: usize) {
        until(&format!("{players} who are away"), async || {
            sleep(PAUSE).await;
            (self.node.held().await.suspended == players).then_some(())
        })
        .await;
    }

    /// Sends pushes to a room.
    async fn send(&self, room: String, count: usize) {
        self.node.ask::<Value>("parcels", json!([room, count, PARCEL])).await;
    }

    /// Checks what the full outboxes of all players cost: so many bytes are counted, and the memory is not much more.
    async fn costs(&self, frames: usize) {
        let held = self.node.held().await;
        assert_eq!(held.suspended, PLAYERS, "an outbox holds this much");
        let grown = self.node.process.resident().saturating_sub(self.before);
        println!(
            "{PLAYERS} full outboxes: {} KiB are counted, the node has grown by {} KiB",
            held.queued_bytes / KIB,
            grown / KIB
        );
        // It is counted in steps for each connection.
        assert!((frames..=frames + PLAYERS * 4 * KIB).contains(&held.queued_bytes), "{} bytes", held.queued_bytes);
        let most = frames + PLAYERS * PARCELS * ENTRY + 4 * MIB;
        assert!(grown <= most, "{grown} bytes instead of at most {most}");
    }

    /// Waits until this many sessions of the node have ended, because too much or because nobody came back in time.
    async fn ended(&self, too_slow: usize, not_resumed: usize) {
        until(&format!("ends of {too_slow} and {not_resumed} sessions"), async || {
            let Told { closed, .. } = self.node.told().await;
            sleep(PAUSE).await;
            let count = |reason: &str| closed.get(reason).copied().unwrap_or_default();
            ((count("too slow"), count("not resumed")) == (too_slow, not_resumed)).then_some(())
        })
        .await;
    }

    /// Waits until the node holds nothing of the players any more.
    async fn ends(self) {
        until("an empty node", async || {
            let held = self.node.held().await;
            sleep(PAUSE).await;
            ((held.connections, held.suspended, held.rooms, held.queued_bytes) == (1, 0, 0, 0)).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_player_who_never_comes_back_costs_its_bound_and_only_for_its_time() {
    let redis = RedisServer::start().await;
    let node = Node::start(&redis, WITHIN).await;
    let room = |number: usize| format!("tram {number}");
    let mut kept = Vec::new();
    for waits in [false, true] {
        let mut absence = Absence::begin(&node, room).await;
        for number in 0..PLAYERS {
            absence.send(room(number), PARCELS).await;
        }
        absence.costs(PLAYERS * PARCELS * FRAME).await;
        if waits {
            absence.ended(PLAYERS, PLAYERS).await;
            let waited = absence.begun.elapsed();
            assert!(waited >= WITHIN, "they ended after {waited:?}");
            println!("the sessions have waited for {waited:?}");
        } else {
            // With one push more, a session is given up at once.
            for number in 0..PLAYERS {
                absence.send(room(number), 1).await;
                absence.ended(number + 1, 0).await;
            }
            assert!(absence.begun.elapsed() < WITHIN, "the machine is too slow for this test");
        }
        for client in &mut absence.clients {
            assert!(!client.come_back().await, "the session is over");
            client.leave().await;
        }
        absence.ends().await;
        kept.push(node.process.resident());
    }
    // The allocator keeps memory after the first time, and uses it again.
    let [first, second] = kept[..] else { unreachable!("two rounds") };
    println!("{} KiB after the first time, {} KiB after the second", first / KIB, second / KIB);
    assert!(second <= first + MIB, "{second} bytes after {first}");
    node.stop().await;
}

#[tokio::test]
async fn what_waits_for_all_who_are_away_is_kept_once() {
    let redis = RedisServer::start().await;
    let node = Node::start(&redis, WITHIN).await;
    let room = || "tram".to_owned();
    let mut absence = Absence::begin(&node, |_| room()).await;
    absence.send(room(), PARCELS).await;
    absence.costs(PARCELS * FRAME).await;
    // Who comes back has lost nothing.
    let mut back = absence.clients.pop().expect("a player");
    assert!(back.come_back().await);
    for number in 0..PARCELS {
        let parcel = back.next().await.expect("a push");
        assert!(parcel.starts_with(r#"{"method":"parcel""#) && parcel.len() == PARCEL, "push {number}: {parcel}");
    }
    // The others are given up.
    absence.send(room(), 1).await;
    absence.ended(PLAYERS - 1, 0).await;
    back.leave().await;
    absence.ends().await;
    node.stop().await;
}
