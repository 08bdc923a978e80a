//! Loops move between nodes that are killed, frozen and drained, while bots play.
//!
//! `KENGINE_GAME_LOOP_SECONDS` sets how long 200 bots play in 23 rooms. Without it, 12 bots play in 4 rooms until each
//! fault has happened once.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use kengine::room::GameLoop;
use kengine_tests::{RallyLoop, Return, until};
use serde::Deserialize;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::{connect_async, tungstenite::Message};

use crate::nodes::{LEASE, Nodes, lateness, playing_time};

/// How long a bot waits for an answer before it connects to another node.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the bots of a test share.
struct Court {
    nodes: Vec<SocketAddr>,
    rooms: usize,
    /// When each room's loop last replied, and what.
    replies: Mutex<BTreeMap<String, (Instant, Return)>>,
}

#[derive(Deserialize)]
struct Answered {
    id: Option<u64>,
    result: Option<Return>,
}

impl Court {
    fn room(&self, number: usize) -> String {
        format!("court-{}", number % self.rooms)
    }

    /// Waits until each room has had a reply to a question that was asked after this moment.
    async fn plays_on(&self, since: Instant) {
        until("a reply in each room", async || {
            let replies = self.replies.lock().unwrap();
            let fresh = replies.values().filter(|(at, _)| *at > since + PATIENCE.min(LEASE)).count();
            (fresh == self.rooms).then_some(())
        })
        .await;
    }

    /// Plays on one node after another.
    async fn bot(self: Arc<Self>, number: usize, ended: watch::Receiver<bool>) {
        let mut serial = number;
        while !*ended.borrow() {
            let node = self.nodes[serial % self.nodes.len()];
            let _ = self.play(node, number, serial, &ended).await;
            serial += 1;
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Plays on a node until the connection fails.
    async fn play(&self, node: SocketAddr, number: usize, serial: usize, ended: &watch::Receiver<bool>) -> Option<()> {
        let room = self.room(number);
        // Messages over two nodes have no order, so each connection is another user.
        let url = format!("ws://{node}/ws?uid=bot-{number}-{serial}");
        let (mut socket, _) = timeout(PATIENCE, connect_async(url)).await.ok()?.ok()?;
        socket.send(Message::text(format!(r#"{{"method":"play","message":"{room}"}}"#))).await.ok()?;
        for turn in 0_u64.. {
            if *ended.borrow() {
                break;
            }
            for (method, id) in [("tap", 2 * turn), ("hit", 2 * turn + 1)] {
                let message = format!(r#"{{"method":"{method}","message":["{room}",{id}],"id":{id}}}"#);
                socket.send(Message::text(message)).await.ok()?;
            }
            let reply = async {
                loop {
                    let Message::Text(text) = socket.next().await?.ok()? else { continue };
                    let answered: Answered = serde_json::from_str(&text).unwrap_or(Answered { id: None, result: None });
                    if answered.id == Some(2 * turn + 1) {
                        return Some(answered.result);
                    }
                }
            };
            if let Some(reply) = timeout(PATIENCE, reply).await.ok()?? {
                assert_eq!(reply.number, 2 * turn + 1);
                self.replies.lock().unwrap().insert(room.clone(), (Instant::now(), reply));
            }
            sleep(Duration::from_millis(40)).await;
        }
        Some(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_has_one_loop_at_every_moment() {
    let time = playing_time();
    let (bots, rooms) = if time.is_some() { (200, 23) } else { (12, 4) };
    let mut nodes = Nodes::start("rally").await;
    let court = Arc::new(Court { nodes: nodes.addresses(), rooms, replies: Mutex::default() });
    let (end, ended) = watch::channel(false);
    let mut playing = JoinSet::new();
    for number in 0..bots {
        playing.spawn(Arc::clone(&court).bot(number, ended.clone()));
    }
    nodes.saved((0..rooms).map(|number| court.room(number))).await;
    sleep(time.unwrap_or_default() / 4).await;
    let calm = nodes.lines();
    nodes.suffer(time.unwrap_or_default(), async |since| court.plays_on(since).await).await;
    end.send_replace(true);
    while let Some(played) = playing.join_next().await {
        played.expect("a bot that sees no wrong reply");
    }
    let lines = nodes.lines();
    nodes.check(&lines);
    assert_eq!(lines.iter().map(|line| &line.room).collect::<BTreeSet<_>>().len(), rooms);
    eprintln!("without faults: {}", lateness(&calm, RallyLoop::TICK));
    eprintln!("with faults: {}", lateness(&lines, RallyLoop::TICK));
}
