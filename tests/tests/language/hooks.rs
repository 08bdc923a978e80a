//! The hooks of a connection: accept, open, before, heartbeat and close.

use std::{
    borrow::Cow,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use kengine::{
    Call, Close, CloseCode, Connection, Context, DisconnectReason, Error, FromContext, Handshake, Liveness, Push,
    Refusal, Server, Session, Uid, testing,
};
use kengine_tests::{ClientFrame, Gate, RawClient, TestServer, Upgrade, every_row, segment, within};
use serde::Deserialize;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::Instant,
};

/// A session that is made from the query of the handshake.
#[derive(Clone, Deserialize)]
struct Guest {
    name: String,
    muted: bool,
}

impl Session for Guest {
    fn uid(&self) -> Option<Uid> {
        (self.name != "nobody").then(|| Uid::new(&self.name).ok()).flatten()
    }
}

/// The type could also be decoded from a message, so a client could choose its own session if it were.
impl FromContext<'_, Self> for Guest {
    type Error = kengine::Error;

    fn from_context(context: Context<'_, Self>) -> kengine::Result<Self> {
        Ok(context.session().clone())
    }
}

#[derive(Debug)]
struct Stranger;

impl From<Stranger> for Refusal {
    fn from(_: Stranger) -> Self {
        Self::new(451, "stranger", "not for strangers")
    }
}

/// A dispatcher with every hook, which notes each connection's open and close.
#[derive(Clone)]
struct Hall {
    asked: Arc<AtomicU32>,
    gate: Gate,
    kept: Arc<Mutex<Option<Connection<Guest>>>>,
    notes: UnboundedSender<String>,
}

fn hall() -> (Hall, Notes) {
    let (notes, read) = unbounded_channel();
    let hall = Hall { asked: Arc::default(), gate: Gate::default(), kept: Arc::default(), notes };
    (hall, Notes(read))
}

/// The notes of a hall.
struct Notes(UnboundedReceiver<String>);

impl Notes {
    async fn next(&mut self) -> String {
        within("a note", self.0.recv()).await.expect("a hall that notes")
    }

    /// Checks that no more notes come and that the hall was dropped.
    async fn end(mut self) {
        assert_eq!(within("the end of the notes", self.0.recv()).await, None);
    }
}

impl Hall {
    fn note(&self, note: impl Into<String>) {
        let _ = self.notes.send(note.into());
    }
}

#[derive(serde::Serialize)]
struct Welcome<'a> {
    name: &'a str,
}

impl Push for Welcome<'_> {
    const NAME: &'static str = "welcome";
}

/// A type that is both context and a message; it is always taken from the context.
#[derive(Deserialize)]
struct Both(u32);

impl<S> FromContext<'_, S> for Both {
    type Error = kengine::Error;

    fn from_context(_: Context<'_, S>) -> kengine::Result<Self> {
        Ok(Self(7))
    }
}

#[kengine::dispatcher]
impl Hall {
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<Guest, Refusal> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match handshake.query("as").as_deref() {
            Some("stranger") => return Err(Stranger.into()),
            Some("thief") => return Err(Error::new("unauthorized", "show your ticket").into()),
            Some("fault") => return Err(Refusal::internal("the disk is on fire")),
            Some("nameless") => {
                let refusal = Refusal::unauthorized("who are you?");
                return Err(refusal.header("WWW-Authenticate", "Bearer").header("Set-Cookie", "seen=1"));
            }
            Some("early") => return Err(Refusal::unavailable("it opens at noon").header("Retry-After", 3600)),
            Some("broken") => return Err(Refusal::unauthorized("no").header("X-Reason", "a\r\nb: c")),
            Some("odd") => return Err(Refusal::new(200, "odd", "a status that refuses nothing")),
            Some("panic") => panic!("in the door"),
            Some("slow") => pending().await,
            _ => {}
        }
        let token = handshake.subprotocols().find_map(|offer| offer.strip_prefix("name."));
        let header = handshake.header("x-name");
        let name = handshake.query("name").or(header.map(Cow::Borrowed)).or(token.map(Cow::Borrowed));
        let name = name.map_or_else(|| "nobody".to_owned(), Cow::into_owned);
        Ok(Guest { name, muted: handshake.query_string().is_some_and(|query| query.contains("muted")) })
    }

    #[open]
    async fn greet(&self, guest: &Guest, connection: &Connection<Guest>) -> Result<(), Error> {
        self.note(format!("open {}", guest.name));
        match guest.name.as_str() {
            "unwelcome" => return Err(Error::new("full", "the hall is full")),
            "panic" => panic!("in the hall"),
            "late" => self.gate.pass().await,
            "stuck" => pending().await,
            "left" => connection.close(Close::new(CloseCode::KICKED, "out")),
            _ => {}
        }
        Ok(connection.send(&Welcome { name: &guest.name })?)
    }

    #[close]
    async fn leave(&self, reason: &DisconnectReason, guest: &Guest) {
        self.note(format!("close {} {reason}", guest.name));
        match guest.name.as_str() {
            "clinging" => pending().await,
            "falling" => panic!("on the stairs"),
            _ => {}
        }
    }

    #[before]
    async fn guard(&self, guest: &Guest, call: &Call) -> Result<(), Error> {
        let Call { route, size, .. } = call;
        if guest.muted && *route == "say" {
            return Err(Error::new("muted", format!("`{route}` of {size} bytes")));
        }
        Ok(())
    }

    #[route]
    async fn say(&self, guest: &Guest, text: String) -> String {
        format!("{}: {text}", guest.name)
    }

    #[route]
    async fn whoami(&self, connection: &Connection<Guest>) -> String {
        connection.uid().to_string()
    }

    #[route]
    async fn both(&self, both: Both) -> u32 {
        both.0
    }

    #[route]
    async fn both_and(&self, both: Both, message: u32) -> u32 {
        both.0 + message
    }

    #[route]
    async fn me(&self, guest: Guest) -> String {
        guest.name
    }

    #[route]
    async fn kick(&self, connection: &Connection<Guest>) {
        connection.close(Close::new(CloseCode::KICKED, "kicked"));
    }

    #[route]
    async fn wait(&self, connection: &Connection<Guest>) {
        *self.kept.lock().expect("no panic") = Some(connection.clone());
        self.gate.pass().await;
    }
}

fn request(route: &str, message: &str) -> ClientFrame {
    ClientFrame::text(format!(r#"{{"method":"{route}","message":{message},"id":1}}"#))
}

fn welcome(name: &str) -> String {
    format!(r#"{{"method":"welcome","message":{{"name":"{name}"}}}}"#)
}

async fn named(server: &TestServer, path: &'static str, name: &str) -> RawClient {
    let mut client = Upgrade::new(server.address()).path(path).open(server.address()).await;
    assert_eq!(client.frame().await, welcome(name));
    client
}

#[tokio::test]
async fn accept_refuses_with_a_status_and_a_reason() {
    let rows = [
        ("a custom refusal", ("/ws?as=stranger", 451, "stranger")),
        ("an error becomes a refusal", ("/ws?as=thief", 401, "unauthorized")),
        ("a fault hides its cause", ("/ws?as=fault", 500, "internal")),
        ("a status that refuses nothing", ("/ws?as=odd", 500, "odd")),
        ("a header field that cannot be sent", ("/ws?as=broken", 500, "internal")),
        ("a panic", ("/ws?as=panic", 500, "internal")),
        ("no decision in time", ("/ws?as=slow", 503, "unavailable")),
    ];
    let (hall, notes) = hall();
    let server = TestServer::start(Server::new(hall).handshake_timeout(Duration::from_secs(3))).await;
    every_row(rows, async |(path, status, code)| {
        let response = Upgrade::new(server.address()).path(path).ask(server.address()).await;
        assert_eq!((response.status, response.error_code().as_str()), (status, code), "{response:?}");
        assert!(!response.body.contains("fire"), "{response:?}");
        assert_eq!(response.field("sec-websocket-accept"), None);
    })
    .await;
    named(&server, "/ws?name=ada", "ada").await;
    server.stop().await;
    drop(notes);
}

#[tokio::test]
async fn accept_does_not_run_for_a_request_refused_anyway() {
    let (hall, _notes) = hall();
    let asked = Arc::clone(&hall.asked);
    let server = TestServer::start(Server::new(hall).max_connections(1)).await;
    let upgrade = || Upgrade::new(server.address());
    assert_eq!(upgrade().without("Host").ask(server.address()).await.status, 400);
    assert_eq!(upgrade().and("Origin", "https://evil.example").ask(server.address()).await.status, 403);
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    let client = named(&server, "/ws?name=ada", "ada").await;
    assert_eq!(upgrade().ask(server.address()).await.status, 503, "the server is full");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn accept_makes_the_session_from_the_handshake() {
    type Change = fn(Upgrade) -> Upgrade;
    let rows: Vec<(_, (Change, &str))> = vec![
        ("from the query", (|request| request.path("/ws?name=ada"), "ada")),
        ("from the query, encoded", (|request| request.path("/ws?x=1&name=a%20d+a"), "a d a")),
        ("from a header field", (|request| request.and("X-Name", "bob"), "bob")),
        ("from a subprotocol", (|request| request.and("Sec-WebSocket-Protocol", "kengine.v1.json, name.eve"), "eve")),
    ];
    let (hall, _notes) = hall();
    let server = TestServer::start(Server::new(hall)).await;
    every_row(rows, async |(change, name)| {
        let mut client = change(Upgrade::new(server.address())).open(server.address()).await;
        assert_eq!(client.frame().await, welcome(name));
        client.send_frames([request("whoami", "null"), request("say", r#""hello""#)]).await;
        assert_eq!(client.frame().await, format!("1: \"{name}\""));
        assert_eq!(client.frame().await, format!("1: \"{name}: hello\""));
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_refusal_has_the_header_fields_that_were_added() {
    type Fields = &'static [(&'static str, Option<&'static str>)];
    let rows: [(_, (_, _, Fields)); 3] = [
        ("two fields", ("nameless", 401, &[("www-authenticate", Some("Bearer")), ("set-cookie", Some("seen=1"))])),
        ("another `Retry-After`", ("early", 503, &[("retry-after", Some("3600"))])),
        ("a field that cannot be sent", ("broken", 500, &[("x-reason", None), ("b", None)])),
    ];
    let (hall, _notes) = hall();
    let server = TestServer::start(Server::new(hall)).await;
    every_row(rows, async |(guest, status, fields)| {
        let request = Upgrade::new(server.address()).path(format!("/ws?as={guest}"));
        let response = request.ask(server.address()).await;
        assert_eq!((response.status, response.field("content-type")), (status, Some("application/json")));
        for (name, value) in fields {
            assert_eq!(response.field(name), *value, "{response:?}");
        }
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn a_guest_has_a_unique_and_lasting_uid() {
    let (hall, _notes) = hall();
    let server = TestServer::start(Server::new(hall)).await;
    let mut uids = Vec::new();
    for _ in 0..2 {
        let mut client = named(&server, "/ws", "nobody").await;
        client.send_frames([request("whoami", "null"), request("whoami", "null")]).await;
        let uid = client.frame().await;
        assert_eq!(uid.len(), "1: \"\"".len() + 32, "{uid}");
        assert_eq!(client.frame().await, uid);
        uids.push(uid);
    }
    assert_ne!(uids[0], uids[1]);
    server.stop().await;
}

#[tokio::test]
async fn before_sees_each_call_and_may_refuse_it() {
    let (hall, _notes) = hall();
    let server = TestServer::start(Server::new(hall)).await;
    let mut client = named(&server, "/ws?name=ada&muted", "ada").await;
    // The guard runs before the message is decoded, so a message of the wrong type is refused in the same way.
    for message in [r#""hello""#, "17"] {
        client.send_frames([request("say", message), request("whoami", "null")]).await;
        let refusal = client.next().await.expect("an answer");
        assert_eq!(refusal.to_string(), "1: error muted");
        // The size is that of the whole message.
        let size = r#"{"method":"say","message":,"id":1}"#.len() + message.len();
        let words = format!("`say` of {size} bytes");
        assert!(String::from_utf8_lossy(&refusal.payload).contains(&words), "{refusal:?}");
        assert_eq!(client.frame().await, "1: \"ada\"");
    }
    drop(client);
    let mut client = named(&server, "/ws?name=bob", "bob").await;
    client.send_frames([request("say", r#""hello""#), request("say", "17")]).await;
    assert_eq!(client.frame().await, "1: \"bob: hello\"");
    assert_eq!(client.frame().await, "1: error invalid_message");
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_type_that_is_context_and_message_is_context() {
    let (hall, _notes) = hall();
    let server = TestServer::start(Server::new(hall)).await;
    let mut client = named(&server, "/ws?name=ada", "ada").await;
    client.send_frames([request("both", "1"), request("both_and", "1")]).await;
    assert_eq!(client.frame().await, "1: 7");
    assert_eq!(client.frame().await, "1: 8");
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_session_taken_by_value_is_not_decoded() {
    let (hall, _notes) = hall();
    let server = TestServer::start(Server::new(hall)).await;
    let mut client = named(&server, "/ws?name=ada", "ada").await;
    client.send_frames([request("me", r#"{"name":"eve","muted":false}"#)]).await;
    assert_eq!(client.frame().await, "1: \"ada\"");
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn open_runs_before_the_first_message() {
    let (hall, mut notes) = hall();
    let gate = hall.gate.clone();
    let server = TestServer::start(Server::new(hall)).await;
    // The message comes with the handshake, in one segment.
    let mut http = kengine_tests::HttpClient::connect(server.address()).await;
    let upgrade = Upgrade::new(server.address()).path("/ws?name=late").bytes();
    http.send(&[upgrade, segment([request("say", r#""hello""#), ClientFrame::ping("x")])].concat()).await;
    assert_eq!(http.response(false).await.status, 101);
    let mut client = http.into_websocket();
    gate.arrived(1).await;
    // Control frames are answered while `#[open]` runs.
    assert_eq!(client.frame().await, "pong \"x\"");
    gate.open(1);
    assert_eq!(client.frame().await, welcome("late"));
    assert_eq!(client.frame().await, "1: \"late: hello\"");
    assert_eq!(notes.next().await, "open late");
    client.send_frames([ClientFrame::close(1000, "")]).await;
    assert_eq!(notes.next().await, "close late closed by the client: 1000 \"\"");
    server.stop().await;
    notes.end().await;
}

#[tokio::test]
async fn a_failing_open_closes_with_1011_and_runs_close() {
    let rows = [
        ("an error", ("/ws?name=unwelcome", "unwelcome", "the hall is full")),
        ("a panic", ("/ws?name=panic", "panic", "internal error")),
        ("no end in time", ("/ws?name=stuck", "stuck", "the handler took too long")),
    ];
    let (hall, mut notes) = hall();
    let server = TestServer::start(Server::new(hall).handler_timeout(Duration::from_millis(200))).await;
    for (row, (path, name, reason)) in rows {
        let mut client = Upgrade::new(server.address()).path(path).open(server.address()).await;
        client.send_frames([request("say", r#""never handled""#)]).await;
        let close = client.next().await.expect("a close frame");
        assert_eq!(close.close(), Some((1011, reason)), "{row}");
        client.answer_close(1011).await;
        assert_eq!(notes.next().await, format!("open {name}"), "{row}");
        assert_eq!(notes.next().await, format!("close {name} closed by the server: 1011 {reason:?}"), "{row}");
    }
    let mut client = Upgrade::new(server.address()).path("/ws?name=left").open(server.address()).await;
    assert_eq!(client.frame().await, "close 4501");
    client.answer_close(4501).await;
    assert_eq!(notes.next().await, "open left");
    assert_eq!(notes.next().await, "close left closed by the server: 4501 \"out\"");
    server.stop().await;
    notes.end().await;
}

#[tokio::test]
async fn close_runs_once_with_the_reason() {
    let (hall, mut notes) = hall();
    let gate = hall.gate.clone();
    let kept = Arc::clone(&hall.kept);
    let server = Server::new(hall).max_outbox_pushes(4).max_outbox_size(1024).drain_timeout(Duration::from_secs(3));
    let server = server.close_timeout(Duration::from_secs(3));
    let mut server = TestServer::start(server).await;

    let mut client = named(&server, "/ws?name=client", "client").await;
    client.send_frames([ClientFrame::close(4321, "had enough")]).await;
    assert_eq!(client.transcript().await, ["close 4321", "end of TCP"]);
    assert_eq!(notes.next().await, "open client");
    assert_eq!(notes.next().await, "close client closed by the client: 4321 \"had enough\"");

    let mut client = named(&server, "/ws?name=silent", "silent").await;
    client.stop_writing().await;
    assert_eq!(notes.next().await, "open silent");
    assert_eq!(notes.next().await, "close silent lost");
    drop(client);

    named(&server, "/ws?name=reset", "reset").await.reset();
    assert_eq!(notes.next().await, "open reset");
    assert_eq!(notes.next().await, "close reset lost");

    let mut client = named(&server, "/ws?name=rude", "rude").await;
    // The frames after the violation have no effect.
    client
        .send_frames([ClientFrame::text("x").unmasked(), request("kick", "null"), ClientFrame::close(1000, "")])
        .await;
    assert_eq!(client.frame().await, "close 1002");
    drop(client);
    assert_eq!(notes.next().await, "open rude");
    let note = notes.next().await;
    assert!(note.starts_with("close rude protocol violation: 1002 "), "{note}");

    let mut client = named(&server, "/ws?name=kicked", "kicked").await;
    client.send_frames([request("kick", "null"), ClientFrame::close(1000, "")]).await;
    assert_eq!(client.frames(2).await, ["1: null", "close 4501"]);
    drop(client);
    assert_eq!(notes.next().await, "open kicked");
    assert_eq!(notes.next().await, "close kicked closed by the server: 4501 \"kicked\"");

    let mut client = named(&server, "/ws?name=slow", "slow").await;
    client.send_frames([request("wait", "null")]).await;
    gate.arrived(1).await;
    let connection = kept.lock().expect("no panic").take().expect("a connection");
    // Without an await, the connection's task cannot take anything out of the outbox.
    while connection.send(&Welcome { name: "again" }).is_ok() {}
    gate.open(1);
    assert_eq!(client.frame().await, "close 4002");
    drop(client);
    assert_eq!(notes.next().await, "open slow");
    assert_eq!(notes.next().await, "close slow too slow");

    // Two connections during a drain: one is idle, the other's handler never ends.
    let mut idle = named(&server, "/ws?name=idle", "idle").await;
    assert_eq!(notes.next().await, "open idle");
    let mut busy = named(&server, "/ws?name=busy", "busy").await;
    assert_eq!(notes.next().await, "open busy");
    busy.send_frames([request("wait", "null")]).await;
    gate.arrived(1).await;
    server.shut_down();
    assert_eq!(idle.frame().await, "close 4000");
    idle.answer_close(4000).await;
    assert_eq!(notes.next().await, "close idle draining");
    assert_eq!(notes.next().await, "close busy cut off");
    server.ended().await;
    drop((busy, connection));
    notes.end().await;
}

#[tokio::test]
async fn close_runs_after_a_heartbeat_timeout() {
    let (hall, mut notes) = hall();
    let server = TestServer::start(Server::new(hall).idle_timeout(Duration::from_millis(150))).await;
    let mut client = named(&server, "/ws?name=mute", "mute").await;
    let end = loop {
        let frame = client.frame().await;
        if !frame.starts_with("ping") {
            break frame;
        }
    };
    assert_eq!(end, "close 4001");
    drop(client);
    assert_eq!(notes.next().await, "open mute");
    assert_eq!(notes.next().await, "close mute heartbeat timeout");
    server.stop().await;
    notes.end().await;
}

#[tokio::test]
async fn an_endless_close_does_not_hold_the_drain() {
    let (hall, mut notes) = hall();
    let server = TestServer::start(Server::new(hall).drain_timeout(Duration::from_millis(100))).await;
    let client = named(&server, "/ws?name=clinging", "clinging").await;
    drop(client);
    assert_eq!(notes.next().await, "open clinging");
    assert_eq!(notes.next().await, "close clinging lost");
    server.stop().await;
    notes.end().await;
}

#[tokio::test]
async fn close_gets_the_first_reason() {
    let (hall, mut notes) = hall();
    let server = Server::new(hall).close_timeout(Duration::MAX).drain_timeout(Duration::from_millis(100));
    let server = TestServer::start(server).await;
    let mut client = named(&server, "/ws?name=kicked", "kicked").await;
    client.send_frames([request("kick", "null")]).await;
    assert_eq!(client.frames(2).await, ["1: null", "close 4501"]);
    // The close frame is never answered, so the connection is cut off at the deadline of the drain.
    server.stop().await;
    assert_eq!(notes.next().await, "open kicked");
    assert_eq!(notes.next().await, "close kicked closed by the server: 4501 \"kicked\"");
    notes.end().await;
}

#[tokio::test(start_paused = true)]
async fn close_has_the_timeout_of_a_handler() {
    let (hall, mut notes) = hall();
    let hall = testing::serve(Server::new(hall).handler_timeout(Duration::from_secs(7)));
    for (path, name, seconds) in [("/ws?name=clinging", "clinging", 7), ("/ws?name=falling", "falling", 0)] {
        drop(hall.connect(path).await.expect("a place"));
        let begun = Instant::now();
        within("an empty hall", hall.emptied()).await;
        assert_eq!(begun.elapsed().as_secs(), seconds, "{name}");
        assert_eq!(notes.next().await, format!("open {name}"));
        assert_eq!(notes.next().await, format!("close {name} lost"));
    }
}

/// An argument that always fails.
struct Pulse;

impl<S> FromContext<'_, S> for Pulse {
    type Error = kengine::Error;

    fn from_context(_: Context<'_, S>) -> kengine::Result<Self> {
        Err(Error::new("no_pulse", "no pulse was found"))
    }
}

struct Patient;

#[kengine::dispatcher]
impl Patient {
    #[heartbeat]
    async fn alive(&self, _pulse: Pulse) -> Liveness {
        Liveness::Alive
    }

    #[route]
    async fn ask(&self) {}
}

#[tokio::test]
async fn a_failing_argument_of_heartbeat_is_answered() {
    let patient = testing::serve(Patient);
    let mut nurse = patient.connect("/ws").await.expect("a place");
    nurse.heartbeat().await;
    let answer = r#"{"error":{"code":"no_pulse","message":"no pulse was found"}}"#;
    assert_eq!(nurse.next_text().await.as_deref(), Some(answer));
    nurse.request::<()>("ask", &()).await.expect("the connection goes on");
}

#[test]
fn a_reason_has_the_code_of_the_close_frame() {
    use DisconnectReason as Reason;
    let close = || Close::new(CloseCode::KICKED, "out");
    let rows = [
        (Reason::Client(Some(close())), Some(4501), "closed by the client: 4501 \"out\""),
        (Reason::Client(None), None, "closed by the client"),
        (Reason::Lost, None, "lost"),
        (Reason::Violation(close()), Some(4501), "protocol violation: 4501 \"out\""),
        (Reason::HeartbeatTimeout, Some(4001), "heartbeat timeout"),
        (Reason::TooSlow, Some(4002), "too slow"),
        (Reason::Draining, Some(4000), "draining"),
        (Reason::Server(close()), Some(4501), "closed by the server: 4501 \"out\""),
        (Reason::CutOff, None, "cut off"),
    ];
    for (reason, code, words) in rows {
        assert_eq!((reason.code().map(CloseCode::get), reason.to_string().as_str()), (code, words));
    }
}
