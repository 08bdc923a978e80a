//! Several clients of one server do what a script says: they send requests, fragments and rubbish, join rooms, kick
//! each other, read slowly and disappear. Each request with an id is answered at most once and in order, and exactly
//! once if its client behaves and stays; pushes arrive in order; and at the end nothing is left on the server.
//!
//! The input is the script, whose first bytes configure the server. tokio's clock is paused.

#![no_main]

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use kengine::testing::{self, Served};
use kengine::{Close, CloseCode, Connection, DisconnectReason, Duplicates, Error, Hub, Push, Server, Uid};
use kengine_fuzz::frames::{self, BINARY, CLOSE, FIN, TEXT};
use kengine_fuzz::peer::Peer;
use kengine_fuzz::script::Script;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

const PEERS: usize = 4;
const ROOMS: [&str; 3] = ["red", "blue", "a\nb"];
const CLOSED_BY_ROUTE: CloseCode = CloseCode::new(4510).unwrap();
/// Longer than all handlers of a script together.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Counts what it does.
#[derive(Default)]
struct Game {
    opened: AtomicU64,
    closed: AtomicU64,
    pushes: AtomicU64,
}

impl Game {
    fn number(&self) -> u64 {
        self.pushes.fetch_add(1, Relaxed)
    }
}

#[derive(serde::Serialize, Push)]
struct Said {
    number: u64,
    text: String,
}

#[derive(serde::Serialize, Push)]
#[push(latest)]
struct Position {
    number: u64,
}

#[derive(serde::Serialize, Push)]
struct Asked {}

#[kengine::dispatcher(session = Uid)]
impl Game {
    #[open]
    async fn opened(&self) {
        self.opened.fetch_add(1, Relaxed);
    }

    #[close]
    async fn closed(&self, _: &DisconnectReason) {
        self.closed.fetch_add(1, Relaxed);
    }

    #[route]
    async fn echo(&self, text: Value) -> Value {
        text
    }

    #[route]
    async fn wait(&self, time: u64) {
        sleep(Duration::from_millis(time)).await;
    }

    #[route(timeout = "50ms", max_size = "64B")]
    async fn hurry(&self, time: u64) {
        sleep(Duration::from_millis(time)).await;
    }

    #[route]
    async fn fail(&self) -> Result<(), Error> {
        Err(Error::new("failed", "as it should"))
    }

    #[route]
    async fn join(&self, hub: &Hub, connection: &Connection<Uid>, room: String) -> Result<(), Error> {
        Ok(hub.room(room).join(connection).with_presence().await?)
    }

    #[route]
    async fn fill(&self, hub: &Hub, connection: &Connection<Uid>) -> Result<String, Error> {
        Ok(hub.rooms("arena-").fill(2, connection).await?.name().to_owned())
    }

    #[route]
    async fn leave(&self, hub: &Hub, connection: &Connection<Uid>, room: String) -> bool {
        hub.room(room).leave(connection)
    }

    #[route]
    async fn say(&self, connection: &Connection<Uid>, size: usize) -> Result<(), Error> {
        for room in connection.rooms() {
            room.send(&Said { number: self.number(), text: "x".repeat(size) })?;
        }
        Ok(())
    }

    #[route]
    async fn mutter(&self, connection: &Connection<Uid>, size: usize) -> Result<(), Error> {
        Ok(connection.send(&Said { number: self.number(), text: "x".repeat(size) })?)
    }

    #[route]
    async fn kick(&self, hub: &Hub, uid: String) -> usize {
        hub.user(uid).kick(Close::new(CloseCode::KICKED, "kicked"))
    }

    #[route]
    async fn close(&self, connection: &Connection<Uid>) {
        connection.close(CLOSED_BY_ROUTE);
    }

    #[route]
    async fn ask(&self, connection: &Connection<Uid>) -> Result<Value, Error> {
        Ok(connection.ask(&Asked {}).timeout(Duration::from_secs(2)).await?)
    }

    #[fallback]
    async fn rest(&self, connection: &Connection<Uid>) -> Uid {
        connection.uid().clone()
    }
}

fuzz_target!(|data: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let mut script = Script::new(data);
        let mut world = World::new(&mut script);
        while !script.is_over() {
            world.step(&mut script).await;
        }
        world.finish().await;
    });
});

struct World {
    served: Served<Game>,
    idle_timeout: Duration,
    peers: Vec<Peer>,
    /// The reasons for which a server may close a connection so far.
    codes: Vec<u16>,
    is_draining: bool,
    positions: u64,
    /// How long the script has waited.
    waited: Duration,
}

impl World {
    fn new(script: &mut Script<'_>) -> Self {
        let duplicates = script.pick(&[Duplicates::Replace, Duplicates::Refuse, Duplicates::Allow]);
        let idle_timeout = Duration::from_secs(script.pick(&[60, 3, 100_000]));
        let server = Server::new(Game::default())
            .duplicates(duplicates)
            .idle_timeout(idle_timeout)
            .max_message_size(script.pick(&[64 * 1024, 200]))
            .max_outbox_pushes(script.pick(&[1024, 3]))
            .max_outbox_size(script.pick(&[256 * 1024, 20_000]))
            .max_connections(script.pick(&[100, 3]))
            .close_timeout(CLOSE_TIMEOUT)
            .max_rooms_per_connection(script.pick(&[32, 1]))
            // The clients send as fast as they can.
            .max_messages_per_second(u32::MAX, 1)
            .max_bytes_per_second(u32::MAX, 1)
            .max_pings_per_second(u32::MAX, 1)
            .max_joins_per_second(u32::MAX, 1);
        // A connection may be too slow whenever it does not read.
        let codes = vec![CloseCode::TOO_SLOW.get()];
        Self {
            served: testing::serve(server),
            idle_timeout,
            peers: Vec::new(),
            codes,
            is_draining: false,
            positions: 0,
            waited: Duration::ZERO,
        }
    }

    async fn step(&mut self, script: &mut Script<'_>) {
        let begun = Instant::now();
        let action = script.byte() % 20;
        match action {
            0 | 1 => self.connect(script).await,
            2 => sleep(Duration::from_millis(script.pick(&[1, 30, 60, 1_000, 2_500, 21_000, 61_000]))).await,
            3 => self.send_from_outside(script),
            4 => {
                for _ in 0..script.index(8) {
                    yield_now().await;
                }
            }
            5 if script.index(8) == 7 => self.begin_draining().await,
            _ if self.peers.is_empty() => {}
            _ => {
                let index = script.index(self.peers.len());
                let codes = &mut self.codes;
                let peer = &mut self.peers[index];
                act(action, peer, script, codes).await;
            }
        }
        yield_now().await;
        self.note_wait(begun.elapsed());
    }

    /// Notes that a step has taken this long: it has slept, or the handler of a user's earlier connection had to end
    /// before the next one could open. Nobody has answered a ping meanwhile.
    fn note_wait(&mut self, time: Duration) {
        if time.is_zero() {
            return;
        }
        self.codes.push(CloseCode::HEARTBEAT_TIMEOUT.get());
        self.waited += time;
        if self.waited >= CLOSE_TIMEOUT {
            self.peers.iter_mut().for_each(|peer| peer.may_be_cut = true);
        }
    }

    async fn connect(&mut self, script: &mut Script<'_>) {
        let uid = Uid::from(script.index(3));
        let used = self.served.hub().user(uid.as_str()).connections();
        if self.peers.len() >= PEERS {
            return;
        }
        if used > 0 {
            self.codes.extend([CloseCode::REPLACED.get(), CloseCode::ALREADY_CONNECTED.get()]);
        }
        if let Ok(stream) = self.served.connect_raw(uid).await {
            self.peers.push(Peer::new(stream));
        }
    }

    /// Sends from outside of all handlers.
    fn send_from_outside(&mut self, script: &mut Script<'_>) {
        let hub = self.served.hub();
        match script.index(4) {
            0 => {
                self.positions += 1;
                let _ = hub.all().send(&Position { number: self.positions });
                self.peers.iter_mut().for_each(|peer| peer.position = Some(self.positions));
            }
            1 => {
                let room = script.pick(&ROOMS);
                let number = || self.served.dispatcher().number();
                let _ = hub.batch(|| {
                    hub.room(room).send(&Said { number: number(), text: String::new() })?;
                    hub.all().send(&Said { number: number(), text: String::new() })
                });
            }
            2 => {
                self.codes.push(CloseCode::KICKED.get());
                let _ = hub.user(script.index(3).to_string()).kick(Close::new(CloseCode::KICKED, "kicked"));
            }
            _ => {
                let _ = hub.rooms("").local_list();
            }
        }
    }

    async fn begin_draining(&mut self) {
        self.is_draining = true;
        self.codes.push(CloseCode::DRAINING.get());
        // The order reaches every connection before the drain first waits.
        let _ = timeout(Duration::ZERO, self.served.drain()).await;
    }

    async fn finish(mut self) {
        for peer in &mut self.peers {
            peer.max_write = usize::MAX;
            if peer.is_clean {
                // A fence: its answer is the last one.
                let fence = peer.request("echo", &json!("fence"));
                peer.send(FIN | TEXT, fence.as_bytes());
            } else {
                peer.cut();
            }
        }
        let is_answered = |peer: &Peer| peer.has_ended || peer.answered().last() == Some(&Value::from(peer.last_id));
        move_until(&mut self.peers, self.idle_timeout, is_answered).await;
        for peer in self.peers.iter().filter(|peer| peer.is_clean && !peer.has_ended) {
            let ids: Vec<_> = (1..=peer.last_id).map(Value::from).collect();
            assert_eq!(peer.answered(), ids, "the ids of all requests");
            let pongs = peer.frames.iter().filter(|frame| frame.opcode == frames::PONG);
            assert!(pongs.map(|pong| &pong.payload).eq(&peer.pings), "the payloads of all pings");
            if peer.position.is_some() {
                assert_eq!(peer.pushed("position").last().copied(), peer.position, "the latest position");
            }
        }
        for peer in self.peers.iter().filter(|peer| peer.is_clean && peer.has_ended) {
            let Some(code) = peer.close_code() else {
                assert!(peer.may_be_cut, "the connection has ended without a close frame");
                continue;
            };
            assert!(self.codes.contains(&code), "closed with {code}, but only for {:?}", self.codes);
        }
        self.drain().await;
        self.peers.iter().for_each(check_order);
        self.check_the_end().await;
    }

    async fn drain(&mut self) {
        let open: Vec<_> = self.peers.iter().map(|peer| peer.is_clean && !peer.has_ended).collect();
        // What a client sent before it left is handled meanwhile, and may close others.
        self.codes.push(CloseCode::DRAINING.get());
        // The clients read meanwhile, so nobody is cut off.
        tokio::join!(self.served.drain(), move_until(&mut self.peers, self.idle_timeout, |peer| peer.has_ended));
        for (peer, _) in self.peers.iter().zip(open).filter(|(_, was_open)| *was_open) {
            let (code, codes) = (peer.close_code(), &self.codes);
            assert!(code.is_some_and(|code| codes.contains(&code)), "closed with {code:?}, but only for {codes:?}");
        }
    }

    async fn check_the_end(&self) {
        timeout(PATIENCE, self.served.emptied()).await.expect("every connection ends");
        let (hub, game) = (self.served.hub(), self.served.dispatcher());
        assert_eq!(hub.connections(), 0);
        assert_eq!(hub.queued_bytes(), 0);
        assert!(hub.rooms("").local_list().is_empty(), "{:?}", hub.rooms("").local_list());
        (0..3).for_each(|uid| assert_eq!(hub.user(uid.to_string()).connections(), 0, "user {uid}"));
        assert_eq!(game.opened.load(Relaxed), game.closed.load(Relaxed), "calls of `#[open]` and `#[close]`");
    }
}

/// Moves all clients until `done` holds for each.
async fn move_until(peers: &mut [Peer], idle_timeout: Duration, done: impl Fn(&Peer) -> bool) {
    let moving = async {
        // How often nothing has come.
        let mut idle = 0;
        loop {
            let has_moved = poll_fn(|cx| {
                let mut has_moved = false;
                for peer in peers.iter_mut() {
                    has_moved |= peer.read(cx);
                    peer.write(cx);
                }
                Poll::Ready(has_moved)
            })
            .await;
            if peers.iter().all(&done) {
                break;
            }
            idle = if has_moved { 0 } else { idle + 1 };
            if idle < 4 {
                yield_now().await;
            } else {
                sleep((idle_timeout / 10).min(CLOSE_TIMEOUT / 10)).await;
            }
        }
    };
    timeout(PATIENCE, moving).await.expect("the server goes on");
}

/// Lets one client do something.
async fn act(action: u8, peer: &mut Peer, script: &mut Script<'_>, codes: &mut Vec<u16>) {
    match action {
        5..=8 => {
            let text = request(peer, script, codes);
            peer.send(FIN | script.pick(&[TEXT, BINARY]), text.as_bytes());
        }
        9 => {
            let text = request(peer, script, codes);
            let (head, tail) = text.as_bytes().split_at(script.index(text.len()));
            peer.send(TEXT, head);
            peer.ping(b"inside");
            peer.send(FIN, tail);
        }
        10 => peer.ping(script.bytes()),
        11 => {
            let text = script.pick(&[
                "p",
                "{}",
                "[",
                r#"{"method":"echo"}"#,
                r#"{"method":"none","message":{}}"#,
                r#"{"method":"echo","message":null,"message":1}"#,
                r#"{"id":1,"result":5}"#,
                r#"{"id":1,"error":{"code":"no","message":"never"}}"#,
                r#"{"id":99,"result":5}"#,
            ]);
            // Answers to questions that were not asked are requests without a route, and repeat their ids.
            peer.is_clean &= !text.contains("id");
            peer.send(FIN | TEXT, text.as_bytes());
        }
        12 => {
            let bytes = script.bytes();
            peer.is_clean &= bytes.is_empty();
            peer.send_raw(bytes);
        }
        13 => {
            peer.is_clean = false;
            let code = script.pick(&[1000_u16, 1001, 3000, 4999]).to_be_bytes();
            peer.send(FIN | CLOSE, script.pick(&[&code[..], b""]));
        }
        14 if script.index(4) == 3 => peer.cut(),
        15 => peer.max_write = script.pick(&[1, 7, 100, usize::MAX]),
        _ => {}
    }
    poll_fn(|cx| {
        match action {
            16 => _ = peer.read(cx),
            17 if script.index(8) == 7 => peer.shut_down(cx),
            _ => {}
        }
        peer.write(cx);
        Poll::Ready(())
    })
    .await;
}

/// Returns the text of a request with an id.
fn request(peer: &mut Peer, script: &mut Script<'_>, codes: &mut Vec<u16>) -> String {
    const TIMES: [u64; 6] = [0, 1, 49, 60, 3_000, 40_000];
    const SIZES: [usize; 5] = [0, 100, 5_000, 19_000, 300_000];
    let (route, message) = match script.index(13) {
        0 => ("echo", json!(String::from_utf8_lossy(script.bytes()))),
        1 => ("echo", json!("é".repeat(script.pick(&SIZES) / 10))),
        2 => ("wait", json!(script.pick(&TIMES))),
        3 => ("hurry", json!(script.pick(&TIMES))),
        4 => ("fail", Value::Null),
        5 => ("join", json!(script.pick(&ROOMS))),
        6 => ("fill", Value::Null),
        7 => ("leave", json!(script.pick(&ROOMS))),
        8 => ("say", json!(script.pick(&SIZES))),
        9 => ("mutter", json!(script.pick(&SIZES))),
        10 => ("ask", Value::Null),
        11 => {
            codes.push(CloseCode::KICKED.get());
            ("kick", json!(script.index(3).to_string()))
        }
        _ => {
            if script.index(4) == 3 {
                codes.push(CLOSED_BY_ROUTE.get());
                ("close", Value::Null)
            } else {
                ("no such route", Value::Null)
            }
        }
    };
    let text = peer.request(route, &message);
    if text.len() > 200 {
        codes.push(CloseCode::TOO_LARGE.get());
    }
    text
}

/// Checks what a client has received, whatever it has done.
fn check_order(peer: &Peer) {
    if peer.is_clean {
        let answered = peer.answered();
        let expected: Vec<_> = (1..).map(Value::from).take(answered.len()).collect();
        assert_eq!(answered, expected, "the ids of the answers");
    }
    for name in ["said", "position"] {
        let numbers = peer.pushed(name);
        assert!(numbers.is_sorted_by(|one, next| one < next), "pushes `{name}` in the order {numbers:?}");
    }
}
