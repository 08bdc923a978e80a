//! What a client writes cannot forge a line of the log, or change how a terminal shows it.

use std::{error::Error as StdError, fmt};

use kengine::{Connection, Error, Handshake, Hub, Refusal, Server, Session, Uid};
use kengine_tests::{ClientFrame, HttpClient, Log, TestServer, Upgrade};
use serde::{Serialize, Serializer, ser};
use tracing::Level;

/// The text that a client puts wherever it can. Its characters end lines, move a terminal's cursor and reverse the text
/// after them.
const TEXT: &str = "a\nb\rc\u{1b}[2Kd\u{85}e\u{202e}f\u{2028} INFO kengine: forged";
/// The same text as the log shows it.
const SHOWN: &str = r"a\nb\rc\u{1b}[2Kd\u{85}e\u{202e}f\u{2028} INFO kengine: forged";

/// A game whose errors and panics quote the client.
struct Careless;

struct Guest {
    uid: Option<Uid>,
    text: String,
    fails_to: String,
}

impl Session for Guest {
    fn uid(&self) -> Option<Uid> {
        self.uid.clone()
    }

    fn public(&self) -> impl Serialize {
        Unwritable(self.text.clone())
    }
}

/// Something whose error quotes the client, too.
struct Unwritable(String);

impl Serialize for Unwritable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(ser::Error::custom(format!("no such face: {}", self.0)))
    }
}

/// An error with a cause that quotes the client.
#[derive(Debug)]
struct Outer(Inner);

#[derive(Debug)]
struct Inner(String);

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the database failed")
    }
}

impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no such row: {}", self.0)
    }
}

impl StdError for Outer {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

impl StdError for Inner {}

#[kengine::dispatcher]
impl Careless {
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<Guest, Refusal> {
        let text = handshake.query("text").unwrap_or_default().into_owned();
        let fails_to = handshake.query("fails_to").unwrap_or_default().into_owned();
        match &*fails_to {
            "enter" => Err(Refusal::forbidden(format!("no entry for {text}"))),
            "look up" => Err(Refusal::internal(format!("no such player: {text}"))),
            "panic" => panic!("an unknown player: {text}"),
            "be named" => Err(Uid::new(&text).unwrap_err().into()),
            _ => Ok(Guest { uid: Uid::new(&text).ok(), text, fails_to }),
        }
    }

    #[open]
    async fn open(&self, guest: &Guest) -> kengine::Result<()> {
        match &*guest.fails_to {
            "open" => Err(Error::new("strange", format!("strange: {}", guest.text)).with_source(guest.text.clone())),
            _ => Ok(()),
        }
    }

    #[close]
    async fn close(&self, guest: &Guest) -> kengine::Result<()> {
        Err(Error::new("lost", format!("not stored: {}", guest.text)).with_source(Outer(Inner(guest.text.clone()))))
    }

    #[route]
    async fn fail(&self, text: String) -> kengine::Result<()> {
        Err(Error::internal(format!("no such item: {text}")))
    }

    #[route]
    async fn fail_below(&self, text: String) -> kengine::Result<()> {
        Err(Error::internal(Outer(Inner(text))))
    }

    #[route]
    async fn panic(&self, text: String) {
        panic!("an unknown item: {text}");
    }

    #[route]
    async fn join(&self, hub: &Hub, connection: &Connection<Guest>, text: String) -> kengine::Result<()> {
        hub.room("lobby").join(connection).await?;
        Ok(hub.room(text).join(connection).await?)
    }
}

fn upgrade(server: &TestServer, fails_to: &str) -> Upgrade {
    let escaped = TEXT.bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat();
    Upgrade::new(server.address()).path(format!("/ws?fails_to={fails_to}&text={escaped}"))
}

#[tokio::test]
async fn a_client_cannot_forge_a_line_of_the_log() {
    let log = Log::start(Level::TRACE);
    let server = TestServer::start(Server::new(Careless)).await;

    for (fails_to, status) in [("enter", 403), ("look+up", 500), ("panic", 500), ("be+named", 400)] {
        let response = upgrade(&server, fails_to).ask(server.address()).await;
        assert_eq!(response.status, status, "{response:?}");
    }
    // hyper cannot parse these.
    for field in ["X\n\u{1b}", "Origin: http://\u{1b}[2K"] {
        let mut http = HttpClient::connect(server.address()).await;
        http.send(format!("GET /ws HTTP/1.1\r\n{field}\r\n\r\n").as_bytes()).await;
        assert_eq!(http.response(false).await.status, 400);
    }
    let origin = format!("http://{}", TEXT.replace(char::is_control, ""));
    let foreign = upgrade(&server, "").and("Origin", origin).ask(server.address()).await;
    assert_eq!(foreign.status, 403);
    let nowhere = Upgrade::new(server.address()).path("/%0a%1b%E2%80%AE").ask(server.address()).await;
    assert_eq!(nowhere.status, 404);

    let mut unopened = upgrade(&server, "open").open(server.address()).await;
    assert_eq!(unopened.frame().await, "close 1011");
    unopened.answer_close(1011).await;

    let mut client = upgrade(&server, "").open(server.address()).await;
    for (route, code) in [
        ("fail", "internal"),
        ("fail_below", "internal"),
        ("panic", "internal"),
        ("join", "bad_request"),
        (TEXT, "unknown_method"),
    ] {
        let request = serde_json::json!({ "method": route, "message": TEXT, "id": TEXT[..20] });
        let answer = client.ask(request.to_string()).await;
        assert!(answer.ends_with(&format!("error {code}")), "{route}: {answer}");
    }
    client.send_frames([ClientFrame::close(1000, TEXT)]).await;
    assert_eq!(client.transcript().await, ["close 1000", "end of TCP"]);
    server.stop().await;

    let text = log.text();
    for line in text.lines() {
        let is_event = ["TRACE ", "DEBUG ", " INFO ", " WARN ", "ERROR "].iter().any(|level| line.starts_with(level));
        assert!(is_event, "not the start of an event: {line:?}\n{text:?}");
        assert_eq!(line.find(|char: char| char.is_control() || "\u{202e}\u{2028}".contains(char)), None, "{line:?}");
    }
    for (event, words) in [
        ("a handshake was refused", "no entry for "),
        ("refused because of an internal error", "no such player: "),
        ("a panic was caught", "an unknown player: "),
        ("refused because of an internal error", "an unknown player: "),
        ("`#[open]` failed", "strange: "),
        ("a request failed", "no such item: "),
        ("a request failed", "the database failed: no such row: "),
        ("a panic was caught", "an unknown item: "),
        ("`Session::public` cannot be written as JSON", "no such face: "),
        ("the connection has ended", "closed by the client: 1000 \""),
        ("`#[close]` failed", "not stored: "),
        ("`#[close]` failed", "the database failed: no such row: "),
    ] {
        let lines = log.lines_with(&format!("{words}{SHOWN}\""));
        assert!(lines.iter().any(|line| line.contains(event)), "{event}: {words}\n{text}");
    }
}
