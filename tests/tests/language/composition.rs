//! Several dispatchers at one endpoint, as the fields of a struct.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use kengine::{
    Connection, DisconnectReason, Dispatcher, Error, Handshake, Liveness, Push, Refusal, Server, Session,
    wire::Envelope,
};
use kengine_tests::{Client, Gate, Lobby, TestServer, Upgrade, within};

type Log = Arc<Mutex<Vec<String>>>;

#[derive(serde::Serialize, Push)]
struct Welcome(String);

/// Has `#[accept]`, `#[open]` and `#[close]`.
#[derive(Clone, Default)]
struct Door {
    log: Log,
    gate: Gate,
}

#[kengine::dispatcher]
impl Door {
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<(), Refusal> {
        self.log.lock().expect("no panic").push(format!("accept {}", handshake.path()));
        Ok(())
    }

    #[open]
    async fn greet(&self, connection: &Connection) {
        connection.send(&Welcome("hi".to_owned())).expect("an open connection");
    }

    #[close]
    async fn leave(&self, reason: &DisconnectReason) {
        self.log.lock().expect("no panic").push(format!("close {:?}", reason.code().map(kengine::CloseCode::get)));
        self.gate.pass().await;
    }

    #[route(rate = "1/h", burst = 1)]
    async fn knock(&self) -> &'static str {
        "come in"
    }
}

/// Has the heartbeat, and a guard for its own routes.
#[derive(Clone)]
struct Chat;

#[kengine::dispatcher(prefix = "chat.")]
impl Chat {
    #[before]
    async fn guard(&self, call: &kengine::Call) -> Result<(), Error> {
        if call.route == "chat.secret" { Err(Error::new("forbidden", "a secret")) } else { Ok(()) }
    }

    #[route(rate = "1/h", burst = 2)]
    async fn say(&self, text: String) -> String {
        text
    }

    #[route]
    async fn secret(&self) {}

    #[heartbeat]
    async fn alive(&self) -> Liveness {
        Liveness::answer("alive")
    }
}

/// Has the fallback, and a route without a rate.
#[derive(Clone)]
struct Rest;

#[kengine::dispatcher]
impl Rest {
    #[route]
    async fn free(&self) -> u8 {
        1
    }

    #[route(rate = "1/h", burst = 1)]
    async fn dear(&self) -> u8 {
        2
    }

    #[fallback]
    async fn rest(&self, envelope: &Envelope<'_>) -> String {
        format!("no {}", envelope.route())
    }
}

#[derive(Dispatcher)]
struct Flat {
    lobby: Lobby,
    door: Door,
    chat: Chat,
    rest: Rest,
}

#[derive(Dispatcher)]
struct Nested {
    lobby: Lobby,
    inner: Inner<Door, Chat>,
    rest: Rest,
}

/// Its nested dispatchers have every hook.
#[derive(Dispatcher)]
struct Deep {
    lobby: Lobby,
    inner: Inner<Door, Inner<Chat, Rest>>,
}

#[derive(Dispatcher)]
struct Inner<D, C>(D, C);

/// Composed of dispatchers without hooks.
#[derive(Dispatcher)]
struct Plain {
    lobby: Lobby,
    free: Free,
}

struct Free;

#[kengine::dispatcher]
impl Free {
    #[route]
    async fn free(&self) -> u8 {
        1
    }
}

fn request(route: &str, message: &str) -> String {
    format!(r#"{{"method":"{route}","message":{message},"id":1}}"#)
}

async fn serves_all_of_its_fields<D: Dispatcher<Session = ()>>(dispatcher: D, door: Door) {
    assert_eq!(
        D::ROUTES.iter().map(|route| route.name).collect::<Vec<_>>(),
        ["chat", "knock", "chat.say", "chat.secret", "free", "dear"]
    );
    let server = TestServer::start(Server::new(dispatcher)).await;
    let mut client = Client::connect(server.address()).await;
    assert_eq!(client.next().await, r#"{"method":"welcome","message":"hi"}"#);
    for (route, message, answer) in [
        ("chat", r#"{"greeting":"you"}"#, r#"1: "hey, you said: you""#),
        // Each route has its own rate.
        ("knock", "null", r#"1: "come in""#),
        ("knock", "null", "1: error rate_limited"),
        ("chat.say", "\"a\"", r#"1: "a""#),
        ("chat.say", "\"b\"", r#"1: "b""#),
        ("chat.say", "\"c\"", "1: error rate_limited"),
        ("dear", "null", "1: 2"),
        ("dear", "null", "1: error rate_limited"),
        ("free", "null", "1: 1"),
        ("free", "null", "1: 1"),
        // A guard applies only to the routes of its own field.
        ("chat.secret", "null", "1: error forbidden"),
        ("secret", "null", r#"1: "no secret""#),
    ] {
        assert_eq!(client.ask(request(route, message)).await, answer, "{route} {message}");
    }
    assert_eq!(client.ask("p").await, "alive");
    client.close(1000).await;
    door.gate.arrived(1).await;
    door.gate.open(1);
    assert_eq!(*door.log.lock().expect("no panic"), ["accept /ws", "close Some(1000)"]);
    within("a stop", server.stop()).await;
}

#[tokio::test]
async fn the_fields_of_a_struct_serve_one_endpoint() {
    let door = Door::default();
    let flat = Flat { lobby: Lobby, door: door.clone(), chat: Chat, rest: Rest };
    serves_all_of_its_fields(flat, door).await;
}

#[tokio::test]
async fn composed_fields_serve_one_endpoint_too() {
    let door = Door::default();
    let nested = Nested { lobby: Lobby, inner: Inner(door.clone(), Chat), rest: Rest };
    serves_all_of_its_fields(nested, door).await;
    let door = Door::default();
    let deep = Deep { lobby: Lobby, inner: Inner(door.clone(), Inner(Chat, Rest)) };
    serves_all_of_its_fields(deep, door).await;
}

#[tokio::test]
async fn fields_without_hooks_have_the_usual_hooks() {
    let server = TestServer::start(Server::new(Plain { lobby: Lobby, free: Free })).await;
    let mut client = Client::connect(server.address()).await;
    assert_eq!(client.ask(request("free", "null")).await, "1: 1");
    assert_eq!(client.ask(request("none", "null")).await, "1: error unknown_method");
    assert_eq!(client.ask("p").await, "q");
    client.close(1000).await;
    within("a stop", server.stop()).await;
}

struct Player;

impl Session for Player {}

struct Named;

#[kengine::dispatcher(session = Player)]
impl Named {
    #[route]
    async fn noop(&self) {}
}

#[derive(Dispatcher)]
struct WithoutAccept(Named);

/// A connection is refused with 500 if only an `#[accept]` could make its session and there is none.
#[tokio::test]
async fn a_session_that_only_accept_can_make_is_refused_without_it() {
    let bound = Server::new(WithoutAccept(Named)).bind("127.0.0.1:0").await.expect("a free port");
    let address = bound.local_addr();
    let serving = tokio::spawn(bound.serve_until(tokio::time::sleep(Duration::from_secs(60))));
    let response = Upgrade::new(address).ask(address).await;
    assert_eq!(response.status, 500);
    serving.abort();
}
