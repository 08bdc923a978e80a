//! Endpoints of one server with different syntaxes and sessions share their rooms and users.

use kengine::{
    Close, CloseCode, Connection, Dispatcher, Error, Handshake, Hub, Push, Refusal, Server, Session, Uid,
    push::SendError,
};
use kengine_tests::{ClientFrame, RawClient, TestServer, Upgrade, every_row};
use serde::Serialize;

#[derive(Serialize, Push)]
struct News<'a> {
    text: &'a str,
}

#[derive(Serialize, Push)]
#[push("place", latest(player))]
struct Place {
    player: u32,
    x: u32,
}

/// The session of the game's endpoint.
struct Player(Uid);

impl Session for Player {
    fn uid(&self) -> Option<Uid> {
        Some(self.0.clone())
    }

    fn public(&self) -> impl Serialize {
        "a player"
    }
}

/// The session of the operators' endpoint.
struct Operator {
    uid: Uid,
    level: u8,
}

impl Session for Operator {
    fn uid(&self) -> Option<Uid> {
        Some(self.uid.clone())
    }

    fn public(&self) -> impl Serialize {
        self.level
    }
}

fn uid(handshake: &Handshake) -> Result<Uid, Refusal> {
    Ok(Uid::new(handshake.header("x-uid").unwrap_or("nobody"))?)
}

async fn join<S: Session>(hub: &Hub, connection: &Connection<S>) -> Result<(), Error> {
    Ok(hub.room("inn").join(connection).with_presence().await?)
}

fn tell<S>(hub: &Hub, connection: &Connection<S>) -> Result<usize, Error> {
    Ok(hub.room("inn").except(connection).send(&News { text: "hi" })?)
}

struct Game;

#[kengine::dispatcher]
impl Game {
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<Player, Refusal> {
        Ok(Player(uid(handshake)?))
    }

    #[route]
    async fn join(&self, hub: &Hub, connection: &Connection<Player>) -> Result<(), Error> {
        join(hub, connection).await
    }

    #[route]
    async fn tell(&self, hub: &Hub, connection: &Connection<Player>) -> Result<usize, Error> {
        tell(hub, connection)
    }
}

struct Desk;

#[kengine::dispatcher(key = "type", payload = "data")]
impl Desk {
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<Operator, Refusal> {
        Ok(Operator { uid: uid(handshake)?, level: 3 })
    }

    #[route]
    async fn join(&self, hub: &Hub, connection: &Connection<Operator>) -> Result<(), Error> {
        join(hub, connection).await
    }

    #[route]
    async fn tell(&self, hub: &Hub, connection: &Connection<Operator>) -> Result<usize, Error> {
        tell(hub, connection)
    }

    /// Kicks a user, who may be at another endpoint.
    #[route]
    async fn kick(&self, hub: &Hub, operator: &Operator, name: String) -> usize {
        let reason = format!("by an operator of level {}", operator.level);
        hub.user(name).kick(Close::new(CloseCode::KICKED, reason))
    }

    /// Asks a question in the syntax of this endpoint.
    #[route]
    async fn ask(&self, connection: &Connection<Operator>) -> Result<bool, Error> {
        Ok(connection.ask(&News { text: "sure?" }).await?)
    }
}

struct Stand;

#[kengine::dispatcher(key = "do", flat)]
impl Stand {
    #[route]
    async fn join(&self, hub: &Hub, connection: &Connection) -> Result<(), Error> {
        join(hub, connection).await
    }

    #[route]
    async fn tell(&self, hub: &Hub, connection: &Connection) -> Result<usize, Error> {
        tell(hub, connection)
    }
}

fn server() -> Server<impl Dispatcher> {
    Server::new(Game).endpoint("/desk", Desk).endpoint("/stand", Stand)
}

/// Connects a client at each endpoint and joins the room with each; returns the clients, each with its route key.
async fn connect_all(server: &TestServer) -> [(RawClient, &'static str); 3] {
    let mut clients = Vec::new();
    for (path, key, name) in [("/ws", "method", "ada"), ("/desk", "type", "bob"), ("/stand", "do", "")] {
        let upgrade = Upgrade::new(server.address()).path(path).and("x-uid", name);
        let mut client = upgrade.open(server.address()).await;
        client.send_frames([ClientFrame::text(format!(r#"{{"{key}":"join","id":0}}"#))]).await;
        assert_eq!(client.frame().await, "0: null");
        clients.push((client, key));
    }
    clients.try_into().expect("three of them")
}

#[tokio::test]
async fn a_send_follows_the_syntax_of_each_endpoint() {
    let server = TestServer::start(server()).await;
    let [(mut player, _), (mut operator, _), (mut viewer, _)] = connect_all(&server).await;
    let guest = server.hub().room("inn").members().await;
    let guest = &guest.iter().find(|member| member.uid.as_str().len() == 32).expect("a guest").uid;
    // The player got the later joins, each with the public data of its session.
    assert_eq!(
        player.frames(2).await,
        [
            r#"{"method":"joined","message":{"room":"inn","uid":"bob","public":3}}"#.to_owned(),
            format!(r#"{{"method":"joined","message":{{"room":"inn","uid":"{guest}"}}}}"#),
        ]
    );
    assert_eq!(operator.frame().await, format!(r#"{{"type":"joined","data":{{"room":"inn","uid":"{guest}"}}}}"#));

    assert_eq!(server.hub().room("inn").send(&News { text: "x" }).unwrap(), 3);
    assert_eq!(server.hub().all().send(&Place { player: 1, x: 2 }).unwrap(), 3);
    assert_eq!(server.hub().user("bob").send(&News { text: "you" }).unwrap(), 1);
    assert_eq!(
        player.frames(2).await,
        [r#"{"method":"news","message":{"text":"x"}}"#, r#"{"method":"place","message":{"player":1,"x":2}}"#]
    );
    assert_eq!(
        operator.frames(3).await,
        [
            r#"{"type":"news","data":{"text":"x"}}"#,
            r#"{"type":"place","data":{"player":1,"x":2}}"#,
            r#"{"type":"news","data":{"text":"you"}}"#,
        ]
    );
    assert_eq!(viewer.frames(2).await, [r#"{"do":"news","text":"x"}"#, r#"{"do":"place","player":1,"x":2}"#]);
    drop((player, operator, viewer));
    server.stop().await;
}

#[tokio::test]
async fn a_member_reaches_members_at_other_endpoints() {
    let rows = [("from the game", 0), ("from the desk", 1), ("from the stand", 2)];
    every_row(rows, async |from| {
        let server = TestServer::start(server()).await;
        let mut clients = connect_all(&server).await;
        for (at, (client, _)) in clients.iter_mut().enumerate() {
            // Each client got the later joins.
            client.frames(2 - at).await;
        }
        let (sender, key) = &mut clients[from];
        sender.send_frames([ClientFrame::text(format!(r#"{{"{key}":"tell","id":1}}"#))]).await;
        assert_eq!(sender.frame().await, "1: 2");
        let heard = [
            r#"{"method":"news","message":{"text":"hi"}}"#,
            r#"{"type":"news","data":{"text":"hi"}}"#,
            r#"{"do":"news","text":"hi"}"#,
        ];
        for (at, ((client, _), heard)) in clients.iter_mut().zip(heard).enumerate() {
            if at != from {
                assert_eq!(client.frame().await, heard);
            }
        }
        drop(clients);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_uid_is_the_same_user_at_every_endpoint() {
    let server = TestServer::start(server()).await;
    let [(mut ada, _), (mut bob, _), (viewer, _)] = connect_all(&server).await;
    ada.frames(2).await;
    bob.frame().await;
    bob.send_frames([ClientFrame::text(r#"{"type":"kick","data":"ada","id":1}"#)]).await;
    assert_eq!(ada.next().await.expect("a close frame").close(), Some((4501, "by an operator of level 3")));
    ada.answer_close(4501).await;
    let mut seen = bob.frames(2).await;
    seen.sort_unstable();
    assert_eq!(seen, ["1: 1", r#"{"type":"left","data":{"room":"inn","uid":"ada","public":"a player"}}"#]);
    // A connection as Bob at another endpoint replaces the first.
    let another = Upgrade::new(server.address()).and("x-uid", "bob").open(server.address()).await;
    assert_eq!(bob.frame().await, "close 4500");
    bob.answer_close(4500).await;
    drop((another, viewer));
    server.stop().await;
}

#[tokio::test]
async fn a_question_follows_the_syntax_of_its_endpoint() {
    let server = TestServer::start(server()).await;
    let mut operator = Upgrade::new(server.address()).path("/desk").open(server.address()).await;
    operator.send_frames([ClientFrame::text(r#"{"type":"ask","id":"ask"}"#)]).await;
    assert_eq!(operator.frame().await, r#"{"id":1,"type":"news","data":{"text":"sure?"}}"#);
    // A message with this endpoint's key is a request. Another endpoint's key is an unknown member here.
    let request = ClientFrame::text(r#"{"id":1,"type":"join","result":true}"#);
    let answer = ClientFrame::text(r#"{"id":1,"method":"join","result":true}"#);
    operator.send_frames([request, answer]).await;
    assert_eq!(operator.frames(2).await, [r#""ask": true"#, "1: null"]);
    drop(operator);
    server.stop().await;
}

/// A push that has no form in the flat syntax.
#[derive(Serialize, Push)]
struct Round(u32);

#[tokio::test]
async fn a_push_that_one_syntax_cannot_show_still_reaches_the_others() {
    let server = TestServer::start(server()).await;
    let mut clients = connect_all(&server).await;
    for (at, (client, _)) in clients.iter_mut().enumerate() {
        // Each client got the later joins.
        client.frames(2 - at).await;
    }
    let sent = server.hub().room("inn").send(&Round(7));
    assert!(matches!(sent, Err(SendError::Encode(_))), "{sent:?}");
    let [(game, _), (desk, _), _] = &mut clients;
    assert_eq!(game.frame().await, r#"{"method":"round","message":7}"#);
    assert_eq!(desk.frame().await, r#"{"type":"round","data":7}"#);
    drop(clients);
    server.stop().await;
}
