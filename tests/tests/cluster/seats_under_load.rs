//! Clients of three nodes that take seats and leave at random, while one node is killed and one is drained.
//!
//! `KENGINE_SEATS_SECONDS` sets how long they do, with 300 clients; the default is a few seconds, with fewer clients.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use kengine_tests::{Dice, NodeProcess, RedisServer, heavy_test, summary, until, within};
use redis::AsyncCommands;
use tokio::{net::TcpStream, time::sleep};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

const SEATS: usize = 9;
/// A node that stalls for longer than its lease loses its seats, so no machine may be so slow.
const LEASE: Duration = Duration::from_secs(6);

fn seconds() -> Option<u64> {
    std::env::var("KENGINE_SEATS_SECONDS").ok().map(|seconds| seconds.parse().expect("seconds"))
}

/// The players who sit in each room, as far as they know: from an answer until they leave, or until their node is told
/// to drain, because their seats come free before they know it.
#[derive(Default)]
struct Seen {
    rooms: Mutex<BTreeMap<String, BTreeMap<usize, SocketAddr>>>,
    draining: Mutex<Option<SocketAddr>>,
    taken: AtomicUsize,
    refused: AtomicUsize,
    /// The longest time in which a player wanted a seat and had none.
    longest: Mutex<Duration>,
    /// The rooms that had more players than seats.
    overfull: Mutex<Vec<String>>,
}

impl Seen {
    fn sits(&self, room: &str, player: usize, node: SocketAddr) {
        let mut rooms = self.rooms.lock().unwrap();
        let players = rooms.entry(room.to_owned()).or_default();
        if *self.draining.lock().unwrap() != Some(node) {
            players.insert(player, node);
        }
        if players.len() > SEATS {
            self.overfull.lock().unwrap().push(format!("{room}: {players:?}"));
        }
        self.taken.fetch_add(1, Ordering::SeqCst);
    }

    fn waited(&self, time: Duration) {
        let mut longest = self.longest.lock().unwrap();
        *longest = time.max(*longest);
    }

    fn drains(&self, node: SocketAddr) {
        *self.draining.lock().unwrap() = Some(node);
        for players in self.rooms.lock().unwrap().values_mut() {
            players.retain(|_, own| *own != node);
        }
    }

    fn leaves(&self, room: &str, player: usize) {
        self.rooms.lock().unwrap().get_mut(room).expect("a room").remove(&player);
    }
}

type Socket = WebSocketStream<TcpStream>;

async fn connect(address: SocketAddr, player: usize) -> Option<Socket> {
    let stream = TcpStream::connect(address).await.ok()?;
    Some(client_async(format!("ws://{address}/ws?uid={player}"), stream).await.ok()?.0)
}

/// Sends a request. Returns the short form of its answer, or `None` if the connection has ended.
async fn ask(socket: &mut Socket, request: String) -> Option<String> {
    socket.send(Message::from(request)).await.ok()?;
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) if text.contains("\"id\":1") => return Some(summary(&text)),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
            Some(Ok(_)) => {}
        }
    }
}

/// Takes seats and leaves, on one node after the other, until `stop` is set; then takes a last seat.
async fn play(player: usize, nodes: Arc<Vec<SocketAddr>>, seen: Arc<Seen>, stop: Arc<AtomicBool>) -> (String, Socket) {
    let mut dice = Dice::new(u64::try_from(player).expect("a small number") + 1);
    let mut wants_since = Instant::now();
    loop {
        let node = nodes[dice.roll(nodes.len())];
        let Some(mut socket) = connect(node, player).await else {
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        loop {
            let is_last = stop.load(Ordering::SeqCst);
            let Some(answer) = ask(&mut socket, r#"{"method":"fill","message":["arena-",9],"id":1}"#.into()).await
            else {
                break;
            };
            let Some(room) = answer.strip_prefix("1: [\"").and_then(|rest| rest.split('"').next()) else {
                assert_eq!(answer, "1: error unavailable");
                seen.refused.fetch_add(1, Ordering::SeqCst);
                sleep(Duration::from_millis(20)).await;
                continue;
            };
            seen.waited(wants_since.elapsed());
            seen.sits(room, player, node);
            if is_last {
                return (room.to_owned(), socket);
            }
            sleep(Duration::from_millis(u64::try_from(dice.roll(60)).expect("a small number"))).await;
            seen.leaves(room, player);
            wants_since = Instant::now();
            let ends = dice.roll(8) == 0;
            if ends || ask(&mut socket, format!(r#"{{"method":"leave","message":"{room}","id":1}}"#)).await.is_none() {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_room_has_more_players_than_seats_while_nodes_come_and_go() {
    let _turn = heavy_test().await;
    let players = if seconds().is_some() { 300 } else { 60 };
    let time = Duration::from_secs(seconds().unwrap_or(4));
    let redis = RedisServer::start().await;
    let mut processes = Vec::new();
    for _ in 0..3 {
        processes.push(redis.spawn_node(env!("CARGO_BIN_EXE_node"), LEASE).await);
    }
    let nodes = Arc::new(processes.iter().map(NodeProcess::address).collect::<Vec<_>>());
    let (seen, stop) = (Arc::<Seen>::default(), Arc::<AtomicBool>::default());
    let playing: Vec<_> = (0..players)
        .map(|player| tokio::spawn(play(player, Arc::clone(&nodes), Arc::clone(&seen), Arc::clone(&stop))))
        .collect();

    let mut directory = redis.directory().await;
    let begun = Instant::now();
    let mut faults = 0;
    while begun.elapsed() < time {
        // What the directory says at any moment.
        let rooms: Vec<String> = directory.redis.zrange("{kengine}:rooms", 0, -1).await.unwrap();
        for room in rooms {
            let taken: usize = directory.redis.hlen(format!("{{kengine}}:seats:{room}")).await.unwrap();
            assert!(taken <= SEATS, "{room}: {taken}");
        }
        match faults {
            0 if begun.elapsed() > time / 4 => {
                processes.remove(0).kill();
                faults = 1;
            }
            1 if begun.elapsed() > time / 2 => {
                let drained = processes.remove(0);
                seen.drains(drained.address());
                drained.terminate();
                drained.ended().await;
                faults = 2;
            }
            _ => sleep(Duration::from_millis(20)).await,
        }
    }
    assert_eq!(faults, 2);
    stop.store(true, Ordering::SeqCst);
    let mut rooms = BTreeMap::<String, usize>::new();
    let mut sockets = Vec::new();
    for playing in playing {
        let (room, socket) = within("the last seat of a player", playing).await.expect("no panic");
        *rooms.entry(room).or_default() += 1;
        sockets.push(socket);
    }
    let (taken, refused) = (seen.taken.load(Ordering::SeqCst), seen.refused.load(Ordering::SeqCst));
    let longest = *seen.longest.lock().unwrap();
    println!("{taken} seats taken, {refused} requests refused, longest wait {longest:?}; at the end {rooms:?}");
    assert!(longest < LEASE, "a player waited {longest:?} for a seat");
    assert_eq!(*seen.overfull.lock().unwrap(), [""; 0]);
    assert!(rooms.values().all(|players| *players <= SEATS), "{rooms:?}");
    // Each node may have a room that is not full, and the players who left last may have left others.
    assert!(rooms.len() <= players.div_ceil(SEATS) + 5, "{} rooms for {players} players", rooms.len());
    drop(sockets);
    until("the end of all rooms", async || {
        let left: usize = directory.redis.zcard("{kengine}:rooms").await.unwrap();
        (left == 0).then_some(())
    })
    .await;
    let left: Vec<String> = directory.redis.keys("{kengine}:*:arena-*").await.unwrap();
    assert_eq!(left, [""; 0]);
}
