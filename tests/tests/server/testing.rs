//! `kengine::testing`, on which users build their own tests.

use std::{
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use kengine::{
    CloseCode, Connection, DisconnectReason, Handshake, Push, Refusal, Server, Session, Uid,
    testing::{self, Served},
};
use kengine_tests::{Hall, without_rates};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};

/// The session of a player.
struct Player {
    name: String,
}

impl Session for Player {
    fn uid(&self) -> Option<Uid> {
        Uid::new(&self.name).ok()
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Welcome {
    name: String,
}

impl Push for Welcome {
    const NAME: &'static str = "welcome";
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Step {
    number: u32,
}

impl Push for Step {
    const NAME: &'static str = "step";
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Turn {
    number: u32,
}

impl Push for Turn {
    const NAME: &'static str = "turn";
}

#[derive(Default)]
struct Game {
    gone: Mutex<Vec<(String, DisconnectReason)>>,
    greeted: AtomicU32,
    noted: AtomicU32,
}

#[kengine::dispatcher]
impl Game {
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<Player, Refusal> {
        let token = handshake.header("x-token").map(str::to_owned);
        let token = token.or_else(|| handshake.query("uid").map(Into::into));
        let token =
            token.or_else(|| handshake.subprotocols().find(|offer| *offer != "kengine.v1.json").map(Into::into));
        match token.as_deref() {
            Some("slow") => std::future::pending().await,
            Some("expired") => Err(Refusal::unauthorized("the token has expired").header("WWW-Authenticate", "Bearer")),
            Some("peer") => Ok(Player { name: format!("{:?}", handshake.peer()) }),
            Some(name) => Ok(Player { name: name.to_owned() }),
            None => Err(Refusal::unauthorized("who are you?")),
        }
    }

    #[open]
    async fn greet(&self, connection: &Connection<Player>, player: &Player) -> kengine::Result<()> {
        tokio::task::yield_now().await;
        connection.send(&Welcome { name: player.name.clone() })?;
        self.greeted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    #[close]
    async fn leave(&self, player: &Player, reason: &DisconnectReason) {
        self.gone.lock().unwrap().push((player.name.clone(), reason.clone()));
    }

    #[route]
    async fn name<'a>(&self, player: &'a Player) -> &'a str {
        &player.name
    }

    #[route]
    async fn peer(&self, connection: &Connection<Player>) -> Option<SocketAddr> {
        connection.peer()
    }

    #[route]
    async fn echo(&self, text: String) -> String {
        text
    }

    #[route]
    async fn note(&self) {
        self.noted.fetch_add(1, Ordering::SeqCst);
    }

    /// Sends steps and turns alternately, then answers.
    #[route]
    async fn steps(&self, connection: &Connection<Player>, count: u32) -> kengine::Result<u32> {
        for number in 0..count {
            connection.send(&Step { number })?;
            connection.send(&Turn { number })?;
        }
        Ok(count)
    }

    #[route]
    async fn think(&self, seconds: u64) -> u64 {
        sleep(Duration::from_secs(seconds)).await;
        seconds
    }

    /// Has an empty reply, which is not sent without an id.
    #[route]
    async fn rest(&self, seconds: u64) {
        sleep(Duration::from_secs(seconds)).await;
    }

    #[route]
    async fn forget(&self, _text: String) {}

    #[route(rate = "2/s", burst = 2)]
    async fn fire(&self) {}

    #[route]
    async fn leave_me(&self, connection: &Connection<Player>) {
        connection.close(kengine::Close::new(CloseCode::KICKED, "as you wish"));
    }
}

fn serve() -> Served<Game> {
    testing::serve(Game::default())
}

/// Returns the message of a panic.
async fn panics(future: impl Future) -> String {
    let Err(panic) = std::panic::AssertUnwindSafe(future).catch_unwind().await else { panic!("it did not panic") };
    *panic.downcast::<String>().expect("words")
}

#[tokio::test]
async fn a_token_may_be_a_query_a_header_or_a_subprotocol() {
    let game = serve();
    let mut ada = game.connect("/ws?uid=ada").await.unwrap();
    assert_eq!(ada.request::<String>("name", &()).await.unwrap(), "ada");
    let mut bob = game.connect("/ws").header("X-Token", "bob").await.unwrap();
    assert_eq!(bob.request::<String>("name", &()).await.unwrap(), "bob");
    assert_eq!(bob.subprotocol(), None);
    let mut eve = game.connect("/ws").subprotocol("eve").subprotocol("kengine.v1.json").await.unwrap();
    assert_eq!(eve.subprotocol(), Some("kengine.v1.json"));
    assert_eq!(eve.request::<String>("name", &()).await.unwrap(), "eve");
    let mut max = game.connect_as(Player { name: "max".to_owned() }).await.unwrap();
    assert_eq!(game.dispatcher().greeted.load(Ordering::SeqCst), 4, "`connect` returned before `#[open]` had ended");
    assert_eq!(max.push::<Welcome>().await, Welcome { name: "max".to_owned() });
}

#[tokio::test]
async fn a_client_has_the_peer_address_that_a_test_sets() {
    let game = serve();
    let peer = SocketAddr::from(([10, 0, 0, 7], 4711));
    let mut ada = game.connect("/ws?uid=peer").peer(peer).await.unwrap();
    assert_eq!(ada.request::<String>("name", &()).await.unwrap(), "Some(10.0.0.7:4711)");
    assert_eq!(ada.request::<Option<SocketAddr>>("peer", &()).await.unwrap(), Some(peer));
    let mut bob = game.connect("/ws?uid=peer").await.unwrap();
    assert_eq!(bob.request::<String>("name", &()).await.unwrap(), "None");
    assert_eq!(bob.request::<Option<SocketAddr>>("peer", &()).await.unwrap(), None);
    // A `host` that the test sets replaces the default.
    let eve = game.connect("/ws?uid=eve").header("origin", "https://game.example");
    assert_eq!(eve.await.unwrap_err().status(), 403);
    let eve = game.connect("/ws?uid=eve").header("origin", "https://game.example");
    assert!(eve.header("host", "game.example").await.is_ok());
}

#[tokio::test]
async fn a_client_sends_the_heartbeat_of_its_server() {
    let game = testing::serve(Server::new(Game::default()).heartbeat("alive?", "yes"));
    let mut ada = game.connect("/ws?uid=ada").await.unwrap();
    ada.push::<Welcome>().await;
    ada.heartbeat().await;
    assert_eq!(ada.next_text().await.as_deref(), Some("yes"));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_has_a_status_a_code_and_a_message() {
    let game = testing::serve(Server::new(Game::default()).max_connections(1));
    let refused = game.connect("/ws").await.unwrap_err();
    assert_eq!((refused.status(), refused.code(), refused.message()), (401, "unauthorized", "who are you?"));
    // The server's own checks apply, too.
    let refused = game.connect("/ws?uid=ada").header("origin", "https://evil.example").await.unwrap_err();
    assert_eq!(refused.status(), 403);
    let refused = game.connect("/ws?uid=ada").subprotocol("chess").await.unwrap_err();
    assert_eq!(refused.status(), 400);
    // The refusal has its header fields.
    let refused = game.connect("/ws?uid=expired").await.unwrap_err();
    assert_eq!(refused.headers()["www-authenticate"], "Bearer");
    let refused = game.connect("/ws?uid=slow").await.unwrap_err();
    assert_eq!((refused.status(), refused.message()), (503, "it took too long to accept this connection"));
    // None of the refused clients keeps a seat, so the next client gets the only one.
    let _ada = game.connect("/ws?uid=ada").await.unwrap();
    let refused = game.connect("/ws?uid=bob").await.unwrap_err();
    assert_eq!((refused.status(), refused.message()), (503, "this node is full"));
    let refused = game.connect_as(Player { name: "bob".to_owned() }).await.unwrap_err();
    assert_eq!(refused.status(), 503);
}

#[tokio::test]
async fn connecting_with_an_invalid_request_panics() {
    let game = serve();
    assert!(panics(async { game.connect("ws").await }).await.contains("`ws` is not a path"));
    assert!(panics(async { game.connect("/ws").header("a b", "c").await }).await.contains("`a b` is not a valid"));
}

#[tokio::test]
async fn serving_with_an_invalid_setting_panics() {
    let words = panics(async { testing::serve(Server::new(Game::default()).path("ws").origins(["x"])) }).await;
    assert!(words.starts_with("`ws` is not a path; write `/ws`; `x` is not an origin; "), "{words}");
}

#[tokio::test]
async fn answers_find_their_requests_and_pushes_keep_their_order() {
    let game = serve();
    let mut ada = game.connect("/ws?uid=ada").await.unwrap();
    // These are more bytes than the in-memory stream holds, and the client does not read meanwhile.
    assert_eq!(ada.request::<u32>("steps", &400).await.unwrap(), 400);
    assert_eq!(ada.request::<String>("echo", "a").await.unwrap(), "a");
    for number in 0..400 {
        assert_eq!(ada.push::<Turn>().await, Turn { number });
    }
    for number in 0..400 {
        assert_eq!(ada.push::<Step>().await, Step { number });
    }
    let welcome = r#"{"method":"welcome","message":{"name":"ada"}}"#;
    assert_eq!(ada.next_text().await.as_deref(), Some(welcome));
}

#[tokio::test]
async fn request_errors_have_a_code_and_a_message() {
    let game = serve();
    let mut ada = game.connect("/ws?uid=ada").await.unwrap();
    let error = ada.request::<()>("ecoh", "x").await.unwrap_err();
    assert_eq!(error.to_string(), "no route is named `ecoh` (unknown_method)");
    assert_eq!(ada.request::<String>("echo", &7).await.unwrap_err().code, "invalid_message");
    // A result of another type is a mistake in the test, so it panics.
    let words = panics(ada.request::<u32>("echo", "x")).await;
    assert!(words.starts_with("the result of `echo` cannot be read as `u32`: "), "{words}");
    assert!(words.ends_with(r#"it is "x""#), "{words}");
}

#[tokio::test]
async fn raw_messages_pass_unchanged() {
    let game = testing::serve(without_rates(Game::default()));
    let mut ada = game.connect("/ws?uid=ada").await.unwrap();
    ada.push::<Welcome>().await;
    ada.notify("note", &()).await;
    ada.notify("echo", "bare").await;
    assert_eq!(ada.next_text().await.as_deref(), Some(r#""bare""#));
    assert_eq!(game.dispatcher().noted.load(Ordering::SeqCst), 1);
    ada.send_text("{").await;
    assert!(ada.next_text().await.unwrap().contains("bad_request"));
    ada.send_binary(br#"{"method":"echo","message":"bytes","id":"x"}"#).await;
    assert_eq!(ada.next_text().await.as_deref(), Some(r#"{"id":"x","result":"bytes"}"#));
    ada.heartbeat().await;
    assert_eq!(ada.next_text().await.as_deref(), Some("q"));
    // Both directions carry many times what the in-memory stream holds.
    let long = "x".repeat(60_000);
    for _ in 0..20 {
        ada.notify("echo", &long).await;
    }
    for _ in 0..20 {
        assert_eq!(ada.next_text().await.unwrap().len(), 60_002);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_closed_with_4001() {
    let game = serve();
    let mut ada = game.connect("/ws?uid=ada").await.unwrap();
    // The client answers pings during `stay`.
    ada.stay(Duration::from_secs(600)).await;
    assert_eq!(ada.request::<String>("name", &()).await.unwrap(), "ada");
    let begun = Instant::now();
    let close = ada.closed().await.unwrap();
    assert_eq!((close.code(), close.reason()), (CloseCode::HEARTBEAT_TIMEOUT, "heartbeat timeout"));
    // The node looks for silent clients every 1.25 s.
    let silence = begun.elapsed().as_secs();
    assert!((60..=61).contains(&silence), "closed after {silence} s");
    // Pushes that came before the close can still be read.
    assert_eq!(ada.push::<Welcome>().await.name, "ada");
    assert_eq!(ada.next_text().await, None);
    game.emptied().await;
    let gone = game.dispatcher().gone.lock().unwrap();
    assert_eq!(*gone, [("ada".to_owned(), DisconnectReason::HeartbeatTimeout)]);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_keeps_a_client_that_reads_nothing() {
    let game = serve();
    let mut ada = game.connect("/ws?uid=ada").await.unwrap();
    for _ in 0..10 {
        sleep(Duration::from_secs(50)).await;
        ada.heartbeat().await;
    }
    assert_eq!(ada.request::<String>("name", &()).await.unwrap(), "ada");
}

#[tokio::test(start_paused = true)]
async fn a_slow_handler_is_answered_with_timeout() {
    let game = testing::serve(Server::new(Game::default()).handler_timeout(Duration::from_secs(5)));
    let mut ada = game.connect("/ws?uid=ada").await.unwrap();
    assert_eq!(ada.request::<u64>("think", &4).await.unwrap(), 4);
    let begun = Instant::now();
    assert_eq!(ada.request::<u64>("think", &6).await.unwrap_err().code, "timeout");
    assert_eq!(begun.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_rate_fills_up_again() {
    let game = serve();
    let mut ada = game.connect("/ws?uid=ada").await.unwrap();
    for _ in 0..2 {
        ada.request::<()>("fire", &()).await.unwrap();
    }
    assert_eq!(ada.request::<()>("fire", &()).await.unwrap_err().code, "rate_limited");
    ada.stay(Duration::from_millis(500)).await;
    ada.request::<()>("fire", &()).await.unwrap();
    assert_eq!(ada.request::<()>("fire", &()).await.unwrap_err().code, "rate_limited");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_wait_loses_nothing() {
    let game = serve();
    let mut ada = game.connect("/ws?uid=ada").await.unwrap();
    ada.push::<Welcome>().await;
    assert!(timeout(Duration::from_secs(1), ada.push::<Step>()).await.is_err());
    assert!(timeout(Duration::from_secs(1), ada.request::<u64>("think", &2)).await.is_err());
    assert_eq!(ada.request::<u64>("think", &3).await.unwrap(), 3, "the answer to the first request came instead");
    assert_eq!(ada.next_text().await.as_deref(), Some(r#"{"id":1,"result":2}"#));
    // While a handler runs, the server reads one long message ahead. A send that is cancelled halfway is completed
    // later.
    ada.notify("rest", &20).await;
    let long = "x".repeat(60_000);
    ada.notify("forget", &long).await;
    assert!(timeout(Duration::from_secs(1), ada.notify("echo", &long)).await.is_err());
    assert_eq!(ada.next_text().await.map(|text| text.len()), Some(60_002));
}

#[tokio::test(start_paused = true)]
async fn a_wait_may_take_a_day() {
    let game = serve();
    let mut ada = game.connect("/ws?uid=ada").await.unwrap();
    ada.push::<Welcome>().await;
    for minutes in [1, 2, 60, 23 * 60] {
        let begun = Instant::now();
        let wait = Duration::from_secs(minutes * 60);
        assert!(timeout(wait, ada.next_text()).await.is_err(), "{minutes} minutes");
        assert_eq!(begun.elapsed(), wait);
    }
    assert_eq!(ada.request::<String>("name", &()).await.unwrap(), "ada");
}

#[tokio::test(start_paused = true)]
async fn a_pong_proves_that_everything_before_it_was_read() {
    let game = serve();
    let mut ada = game.connect("/ws?uid=ada").await.unwrap();
    ada.notify("think", &3).await;
    ada.notify("echo", "x").await;
    let begun = Instant::now();
    ada.ping().await;
    ada.ping().await;
    assert_eq!(begun.elapsed().as_secs(), 0, "a ping waits for no handler");
    ada.push::<Welcome>().await;
    assert_eq!(ada.next_text().await.as_deref(), Some("3"));
    assert_eq!(ada.next_text().await.as_deref(), Some(r#""x""#));
    ada.notify("leave_me", &()).await;
    let words = panics(ada.ping()).await;
    assert!(words.starts_with("the connection ended before a pong came: closed with 4501 "), "{words}");
}

#[tokio::test]
async fn sending_on_an_ended_connection_panics() {
    let game = serve();
    let mut ada = game.connect("/ws?uid=ada").await.unwrap();
    ada.notify("leave_me", &()).await;
    ada.closed().await;
    let cannot_send = |what| format!(r#"cannot send {what}; the connection has ended: closed with 4501 "as you wish""#);
    assert_eq!(panics(ada.notify("note", &())).await, cannot_send("`note`"));
    assert_eq!(panics(ada.send_text("x")).await, cannot_send("a text message"));
    assert_eq!(panics(ada.send_binary(b"x")).await, cannot_send("a binary message"));
    assert_eq!(panics(ada.heartbeat()).await, cannot_send("a heartbeat"));
    assert_eq!(panics(ada.ping()).await, cannot_send("a ping"));
    assert_eq!(ada.request::<()>("note", &()).await.unwrap_err().code, "closed");

    let mut bob = game.connect("/ws?uid=bob").await.unwrap();
    bob.close(CloseCode::NORMAL, "").await;
    let words = panics(bob.notify("note", &())).await;
    assert_eq!(words, "cannot send `note`; this client has closed the connection");
    assert_eq!(game.dispatcher().noted.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failed_wait_panics_with_a_description() {
    let game = serve();
    let mut ada = game.connect("/ws?uid=ada").await.unwrap();
    let words = panics(ada.push::<Step>()).await;
    assert!(words.starts_with("a push `step` did not come within 86400s; the last other text is {"), "{words}");
    ada.set_timeout(Duration::from_secs(3600));
    let begun = Instant::now();
    panics(ada.next_binary()).await;
    assert_eq!(begun.elapsed().as_secs(), 3600);

    assert_eq!(ada.request::<u64>("think", &31).await.unwrap_err().code, "timeout");
    ada.notify("leave_me", &()).await;
    let error = ada.request::<()>("note", &()).await.unwrap_err();
    let words = r#"the connection ended before an answer to `note` came: closed with 4501 "as you wish""#;
    assert_eq!((error.code.as_str(), error.message.as_str()), ("closed", words));
    let words = panics(ada.push::<Step>()).await;
    assert!(words.starts_with("the connection ended before a push `step` came: "), "{words}");
    assert_eq!(game.dispatcher().noted.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_closes_or_is_lost() {
    let game = serve();
    let mut ada = game.connect("/ws?uid=ada").await.unwrap();
    ada.close(CloseCode::NORMAL, "bye").await;
    assert_eq!(ada.closed().await.unwrap().code(), CloseCode::NORMAL);
    game.emptied().await;
    drop(game.connect("/ws?uid=bob").await.unwrap());
    game.emptied().await;
    let gone = game.dispatcher().gone.lock().unwrap();
    let bye = kengine::Close::new(CloseCode::NORMAL, "bye");
    let reasons = [DisconnectReason::Client(Some(bye)), DisconnectReason::Lost];
    assert_eq!(gone.iter().map(|(_, reason)| reason.clone()).collect::<Vec<_>>(), reasons);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_too_slow() {
    let game = testing::serve(Server::new(Game::default()).max_outbox_pushes(100).max_outbox_size(256 * 1024));
    let mut ada = game.connect("/ws?uid=ada").await.unwrap();
    ada.notify("steps", &51).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(ada.closed().await.unwrap().code(), CloseCode::TOO_SLOW);
}

#[tokio::test(start_paused = true)]
async fn a_drain_closes_every_client_with_4000() {
    let game = serve();
    let mut ada = game.connect("/ws?uid=ada").await.unwrap();
    ada.notify("think", &3).await;
    ada.ping().await;
    let ((), ()) = tokio::join!(game.drain(), async {
        ada.push::<Welcome>().await;
        assert_eq!(ada.next_text().await.as_deref(), Some("3"), "a request that was read is answered");
        assert_eq!(ada.closed().await.unwrap().code(), CloseCode::DRAINING);
    });
    assert_eq!(game.connect("/ws?uid=bob").await.unwrap_err().status(), 503);
}

#[tokio::test(start_paused = true)]
async fn a_closed_client_finishes_without_being_polled() {
    let game = serve();
    let begun = Instant::now();
    let mut ada = game.connect("/ws?uid=ada").await.unwrap();
    let mut bob = game.connect("/ws?uid=bob").await.unwrap();
    bob.notify("leave_me", &()).await;
    // Sleeping lets every other task run as far as it can.
    sleep(Duration::from_millis(1)).await;
    assert_eq!(game.dispatcher().gone.lock().unwrap().len(), 1, "the server still waits for Bob");
    game.drain().await;
    assert_eq!(begun.elapsed().as_millis(), 1, "the drain waited for Ada");
    let bye = kengine::Close::new(CloseCode::KICKED, "as you wish");
    let reasons = [("bob", DisconnectReason::Server(bye)), ("ada", DisconnectReason::Draining)];
    assert_eq!(*game.dispatcher().gone.lock().unwrap(), reasons.map(|(name, reason)| (name.to_owned(), reason)));
    // What was sent to them can still be read.
    assert_eq!(ada.push::<Welcome>().await.name, "ada");
    assert_eq!(ada.closed().await.unwrap().code(), CloseCode::DRAINING);
    assert_eq!(bob.push::<Welcome>().await.name, "bob");
    assert_eq!(bob.closed().await.unwrap().code(), CloseCode::KICKED);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_game_cuts_off_its_clients() {
    let game = serve();
    let mut ada = game.connect("/ws?uid=ada").await.unwrap();
    drop(game);
    assert_eq!(ada.closed().await, None);
}

/// A dispatcher with another syntax.
struct Flat;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Tick;

impl Push for Tick {
    const NAME: &'static str = "tick";
}

#[kengine::dispatcher(key = "t", flat)]
impl Flat {
    #[route]
    async fn step(&self, connection: &Connection, step: Step) -> kengine::Result<u32> {
        connection.send(&Tick)?;
        connection.send(&Turn { number: step.number })?;
        Ok(step.number)
    }

    #[route]
    async fn rest(&self) {}
}

#[tokio::test]
async fn requests_follow_the_syntax_of_the_dispatcher() {
    let game = testing::serve(Flat);
    let mut ada = game.connect("/ws").await.unwrap();
    assert_eq!(ada.request::<u32>("step", &Step { number: 7 }).await.unwrap(), 7);
    assert_eq!(ada.push::<Turn>().await, Turn { number: 7 });
    assert_eq!(ada.push::<Tick>().await, Tick);
    ada.request::<()>("rest", &()).await.unwrap();
}

async fn hung_player(hall: &Served<Hall>, uid: &str) -> (testing::HungClient, String) {
    let mut client = hall.connect(format!("/ws?uid={uid}")).await.unwrap();
    let room = client.request("play", &()).await.unwrap();
    client.request::<()>("sit", &()).await.unwrap();
    client.request::<u32>("score", &()).await.unwrap();
    (client.hang(), room)
}

#[tokio::test(start_paused = true)]
async fn a_player_comes_back_while_the_old_client_hangs() {
    let hall = testing::serve(Hall::default().server());
    let (hung, room) = hung_player(&hall, "ada").await;
    let mut again = hall.connect("/ws?uid=ada").await.unwrap();
    let notes = hall.dispatcher().notes();
    assert_eq!(notes, ["open ada", "close ada: replaced by a newer connection", "open ada"]);
    assert_eq!(again.request::<String>("play", &()).await.unwrap(), room);
    again.request::<()>("sit", &()).await.unwrap();
    assert_eq!(again.request::<u32>("score", &()).await.unwrap(), 2);
    assert_eq!((hall.hub().user("ada").connections(), hall.hub().connections()), (1, 2));
    // The server still waits for the close frame of the client that hangs.
    again.stay(Duration::from_secs(3600)).await;
    assert_eq!(hall.hub().connections(), 2);
    let mut old = hung.wake();
    assert_eq!(old.closed().await.unwrap().code(), CloseCode::REPLACED);
    again.stay(Duration::from_secs(1)).await;
    assert_eq!(hall.hub().connections(), 1);
    assert_eq!(again.request::<u32>("score", &()).await.unwrap(), 3);
    assert_eq!(hall.dispatcher().notes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_is_cut_off_after_the_close_timeout() {
    let timeout = Duration::from_secs(7);
    let hall = testing::serve(Hall::default().server().close_timeout(timeout));
    let (hung, _) = hung_player(&hall, "ada").await;
    let begun = Instant::now();
    assert_eq!(hall.hub().user("ada").kick(kengine::Close::from(CloseCode::KICKED)), 1);
    assert_eq!(hall.hub().rooms("").local_list(), []);
    hall.emptied().await;
    assert_eq!(begun.elapsed(), timeout);
    assert_eq!(hung.wake().closed().await.unwrap().code(), CloseCode::KICKED, "what was sent can still be read");
}

#[tokio::test(start_paused = true)]
async fn a_seat_is_kept_for_the_seat_timeout() {
    let hall = testing::serve(Hall::default().server());
    let mut players = Vec::new();
    for number in 1..=Hall::MATCH {
        let mut player = hall.connect(format!("/ws?uid={number}")).await.unwrap();
        players.push((player.request::<String>("play", &()).await.unwrap(), player.hang()));
    }
    let room = players[0].0.clone();
    let mut again = hall.connect("/ws?uid=1").await.unwrap();
    again.stay(Duration::from_millis(9_999)).await;
    let mut early = hall.connect("/ws?uid=early").await.unwrap();
    assert_ne!(early.request::<String>("play", &()).await.unwrap(), room);
    again.stay(Duration::from_millis(1)).await;
    let mut late = hall.connect("/ws?uid=late").await.unwrap();
    assert_eq!(late.request::<String>("play", &()).await.unwrap(), room);
}
