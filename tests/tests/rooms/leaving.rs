//! A connection that ends is in no room and has no seat and no uid from that moment on, whatever its client does. Only
//! its socket stays for the close handshake. Here the close timeout never ends, and the clients hang: they do not read,
//! and do not answer the close frame.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use kengine::{
    Close, CloseCode, Connection, DisconnectReason, Duplicates, Error, Handshake, Hub, Push, Refusal, Server, Uid,
    push::SendError,
    room::{JoinError, RoomCount},
};
use kengine_tests::{Client, ClientFrame, Gate, HttpClient, RawClient, TestServer, Upgrade, every_row, until, within};
use serde::Serialize;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A push with a number.
#[derive(Serialize, Push)]
struct Note(usize, String);

impl Note {
    fn new(number: usize, bytes: usize) -> Self {
        Self(number, "x".repeat(bytes))
    }

    /// Returns how a push with this number begins on the wire.
    fn text(number: usize) -> String {
        format!(r#"{{"method":"note","message":[{number},"#)
    }
}

/// A game that seats each player in the room `inn` and alone at a table, and notes each close.
#[derive(Clone)]
struct House {
    /// Where `wait` and `close_and_wait` wait.
    gate: Gate,
    /// The latest connection of each user.
    guests: Arc<Mutex<HashMap<Uid, Connection<Uid>>>>,
    notes: UnboundedSender<String>,
}

#[kengine::dispatcher]
impl House {
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<Uid, Refusal> {
        Ok(Uid::new(handshake.query("uid").unwrap_or_default())?)
    }

    #[open]
    async fn settle(&self, hub: &Hub, connection: &Connection<Uid>) -> Result<(), Error> {
        hub.room("inn").join(connection).with_presence().await?;
        hub.rooms("table-").fill(1, connection).await?;
        self.guests.lock().unwrap().insert(connection.uid().clone(), connection.clone());
        if connection.uid().as_str() == "unwelcome" { Err(Error::new("full", "no")) } else { Ok(()) }
    }

    #[close]
    async fn see_off(&self, uid: &Uid, reason: &DisconnectReason) {
        let _ = self.notes.send(format!("{uid}: {reason}"));
    }

    #[route]
    async fn close(&self, connection: &Connection<Uid>) {
        connection.close(kicked());
    }

    /// Closes, and waits until the test opens the gate.
    #[route]
    async fn close_and_wait(&self, hub: &Hub, connection: &Connection<Uid>) {
        connection.close(kicked());
        self.wait(hub, connection).await;
    }

    /// Waits until the test opens the gate, and notes what a join returns then.
    #[route]
    async fn wait(&self, hub: &Hub, connection: &Connection<Uid>) {
        self.gate.pass().await;
        let joined = hub.room("inn").join(connection).await;
        let seated = hub.rooms("table-").fill(1, connection).await.map(|_| ());
        let is_closed = |joined| matches!(joined, Err(JoinError::Closed));
        let _ = self.notes.send(format!("{}: {}", connection.uid(), is_closed(joined) && is_closed(seated)));
    }

    /// Answers a short request with a long reply.
    #[route]
    async fn blob(&self) -> String {
        "x".repeat(64 * 1024)
    }
}

fn kicked() -> Close {
    Close::new(CloseCode::KICKED, "out")
}

fn house() -> (House, UnboundedReceiver<String>) {
    let (notes, read) = unbounded_channel();
    (House { gate: Gate::default(), guests: Arc::default(), notes }, read)
}

impl House {
    fn guest(&self, uid: &str) -> Connection<Uid> {
        self.guests.lock().unwrap()[uid].clone()
    }
}

async fn note(notes: &mut UnboundedReceiver<String>) -> String {
    within("a note", notes.recv()).await.expect("a house that notes")
}

async fn connect(server: &TestServer, uid: &str) -> RawClient {
    Upgrade::new(server.address()).path(format!("/ws?uid={uid}")).open(server.address()).await
}

fn request(route: &str) -> ClientFrame {
    ClientFrame::text(format!(r#"{{"method":"{route}","message":null}}"#))
}

fn presence(what: &str, uid: &str) -> String {
    format!(r#"{{"method":"{what}","message":{{"room":"inn","uid":"{uid}"}}}}"#)
}

/// Returns the sizes of the inn and of all tables together.
fn sizes(hub: &Hub) -> (usize, usize) {
    let mut sizes = (0, 0);
    for RoomCount { name, members, .. } in hub.rooms("").local_list() {
        *(if name == "inn" { &mut sizes.0 } else { &mut sizes.1 }) += members;
    }
    sizes
}

async fn members(hub: &Hub) -> Vec<String> {
    hub.room("inn").members().await.iter().map(|member| member.uid.to_string()).collect()
}

/// Checks that a user has no connection, and that only this many others are in the inn.
async fn is_gone(hub: &Hub, uid: &str, others: usize) {
    let user = hub.user(uid);
    assert_eq!((user.connections(), user.send(&Note::new(9, 0)).unwrap(), user.kick(kicked())), (0, 0, 0));
    assert_eq!(sizes(hub), (others, others));
    assert!(!members(hub).await.contains(&uid.to_owned()));
    assert_eq!(hub.room("inn").send(&Note::new(9, 0)).unwrap(), others);
    assert_eq!(hub.all().send(&Note::new(9, 0)).unwrap(), others);
}

/// Checks that Ada, who has come back, counts once, although this many sockets are open. Then she leaves again.
async fn is_back(hub: &Hub, bob: &mut Client, ada: RawClient, sockets: Option<usize>) {
    while bob.next().await != presence("joined", "ada") {}
    until("the seat", async || (sizes(hub).1 == 2).then_some(())).await;
    assert_eq!(hub.user("ada").connections(), 1);
    assert_eq!((members(hub).await, sizes(hub)), (vec!["ada".to_owned(), "bob".to_owned()], (2, 2)));
    if let Some(sockets) = sockets {
        assert_eq!(hub.connections(), sockets, "a socket that is not closed keeps its slot");
    }
    drop(ada);
    while bob.next().await != presence("left", "ada") {}
}

/// How the connection of Ada, who hangs, ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Kick,
    Close,
    CloseInHandler,
    CloseInHandlerThatWaits,
    KickDuringHandler,
    KickOfABlockedSocket,
    FailedOpen,
    FullOutbox,
    FullOutboxes,
    Replaced,
    Violation,
    TooLarge,
    Silent,
    SilentDuringHandler,
    Drain,
    Closes,
    Lost,
}

impl How {
    fn server(self, house: House) -> Server<House> {
        let server = Server::new(house).close_timeout(Duration::MAX).duplicates(match self {
            Self::Replaced => Duplicates::Replace,
            _ => Duplicates::Refuse,
        });
        match self {
            Self::FullOutboxes => server.max_outbox_pushes(usize::MAX).max_total_outbox_size(256 * 1024),
            Self::Silent | Self::SilentDuringHandler => server.idle_timeout(Duration::from_secs(1)),
            Self::Drain => server.idle_timeout(Duration::MAX).drain_timeout(Duration::MAX),
            _ => server.idle_timeout(Duration::MAX),
        }
    }

    /// Opens the connection.
    async fn connect(self, server: &TestServer, uid: &str) -> RawClient {
        let mut http = HttpClient::connect(server.address()).await;
        let mut bytes = Upgrade::new(server.address()).path(format!("/ws?uid={uid}")).bytes();
        if self == Self::SilentDuringHandler {
            // In the same segment as the handshake, so that the handler runs before the silence.
            bytes.extend(request("wait").bytes());
        }
        assert_eq!(http.request(&bytes).await.status, 101);
        http.into_websocket()
    }

    /// Makes the client read, and answer the close frame. It gets nothing that was sent after the end.
    async fn read_at_last(self, mut ada: RawClient, close: &str) {
        let mut last = ada.frame().await;
        while !last.starts_with("close") && last != "end of TCP" {
            assert!(!last.starts_with(&Note::text(9)), "sent after the end: {last}");
            last = ada.frame().await;
        }
        assert_eq!(last, close);
        if self == Self::KickOfABlockedSocket {
            // The rest of a request.
            ada.send([]).await;
        }
        if !matches!(self, Self::Lost | Self::Closes) {
            ada.try_send(ClientFrame::close(1000, "").bytes()).await;
        }
        if self != Self::Lost {
            assert_eq!(ada.transcript().await, ["end of TCP"]);
        }
    }

    /// Ends the connection. If this function itself ends the connection, Ada is gone before her connection's task runs
    /// again.
    async fn end(self, server: &mut TestServer, house: &House, ada: &mut RawClient) {
        let hub = server.hub().clone();
        match self {
            Self::Kick => {
                assert_eq!(hub.user("ada").kick(kicked()), 1);
                is_gone(&hub, "ada", 1).await;
            }
            Self::Close => {
                house.guest("ada").close(kicked());
                is_gone(&hub, "ada", 1).await;
            }
            Self::CloseInHandler => ada.send_frames([request("close")]).await,
            Self::CloseInHandlerThatWaits => ada.send_frames([request("close_and_wait")]).await,
            Self::KickDuringHandler => {
                ada.send_frames([request("wait")]).await;
                house.gate.arrived(1).await;
                assert_eq!(hub.user("ada").kick(kicked()), 1);
                is_gone(&hub, "ada", 1).await;
            }
            Self::KickOfABlockedSocket => {
                // Too many for the kernel's buffers, so this ends when the server reads no more.
                let blob = format!(r#"{{"method":"blob","message":null,"ballast":"{}"}}"#, "x".repeat(50_000));
                ada.send_while_taken(10_000, |_| ClientFrame::text(&blob)).await;
                assert_eq!(hub.user("ada").kick(kicked()), 1);
                is_gone(&hub, "ada", 1).await;
            }
            Self::FullOutbox | Self::FullOutboxes => {
                let connection = house.guest("ada");
                while connection.send(&Note::new(1, 1000)).is_ok() {
                    tokio::task::yield_now().await;
                }
            }
            Self::Violation => ada.send_frames([ClientFrame::text("p").unmasked()]).await,
            Self::TooLarge => ada.send_frames([ClientFrame::text("p").announcing(1 << 20)]).await,
            Self::Drain => server.shut_down(),
            Self::Closes => ada.send_frames([ClientFrame::close(1000, "")]).await,
            Self::Lost => ada.stop_writing().await,
            Self::SilentDuringHandler => house.gate.arrived(1).await,
            Self::FailedOpen | Self::Replaced | Self::Silent => {}
        }
    }
}

#[tokio::test]
async fn a_connection_leaves_the_moment_it_ends() {
    let by_server = "closed by the server: 4501 \"out\"";
    let rows = [
        ("kicked", (How::Kick, by_server, "close 4501")),
        ("closed from outside", (How::Close, by_server, "close 4501")),
        ("closed by its handler", (How::CloseInHandler, by_server, "close 4501")),
        ("closed by a handler that waits", (How::CloseInHandlerThatWaits, by_server, "close 4501")),
        ("kicked while a handler waits", (How::KickDuringHandler, by_server, "close 4501")),
        ("kicked while answers are not read", (How::KickOfABlockedSocket, by_server, "close 4501")),
        ("failed to open", (How::FailedOpen, "closed by the server: 1011 \"no\"", "close 1011")),
        ("too slow", (How::FullOutbox, "too slow", "close 4002")),
        ("the slowest", (How::FullOutboxes, "too slow", "close 4002")),
        ("replaced", {
            let reason = "replaced by a newer connection";
            (How::Replaced, reason, "close 4500")
        }),
        ("a violation", (How::Violation, "protocol violation: 1002 \"frame is not masked\"", "close 1002")),
        ("too large", (How::TooLarge, "protocol violation: 1009 \"message too large\"", "close 1009")),
        ("silent", (How::Silent, "heartbeat timeout", "close 4001")),
        ("silent while a handler waits", (How::SilentDuringHandler, "heartbeat timeout", "close 4001")),
        ("drained", (How::Drain, "draining", "close 4000")),
        ("closes", (How::Closes, "closed by the client: 1000 \"\"", "close 1000")),
        ("stops writing", (How::Lost, "lost", "end of TCP")),
    ];
    every_row(rows, async |(how, reason, close)| {
        let uid = if how == How::FailedOpen { "unwelcome" } else { "ada" };
        let (house, mut notes) = house();
        let mut server = TestServer::start(how.server(house.clone())).await;
        let hub = server.hub().clone();
        // Nobody watches if the watcher's connection would end too.
        let is_watched = !matches!(how, How::Drain | How::Silent | How::SilentDuringHandler);
        let mut bob = None;
        if is_watched {
            bob = Some(Client::connect_to(server.address(), "/ws?uid=bob").await);
            until("bob", async || (members(&hub).await == ["bob"]).then_some(())).await;
        }
        let mut ada = how.connect(&server, uid).await;
        if let Some(bob) = &mut bob {
            assert_eq!(bob.next().await, presence("joined", uid));
        }
        if !matches!(how, How::FailedOpen | How::Silent | How::SilentDuringHandler) {
            ada.heartbeat().await;
        }
        how.end(&mut server, &house, &mut ada).await;
        let mut again = None;
        if how == How::Replaced {
            again = Some(connect(&server, uid).await);
        }
        // Others notice at once, the close hook runs, and the user may come back.
        let hook_waits =
            matches!(how, How::CloseInHandlerThatWaits | How::KickDuringHandler | How::SilentDuringHandler);
        if let Some(bob) = &mut bob {
            while bob.next().await != presence("left", uid) {}
            if how != How::Replaced {
                is_gone(&hub, uid, 1).await;
            }
        }
        if !hook_waits {
            assert_eq!(note(&mut notes).await, format!("{uid}: {reason}"));
        }
        if bob.is_none() {
            until("the end", async || (sizes(&hub) == (0, 0)).then_some(())).await;
            is_gone(&hub, uid, 0).await;
        } else if uid == "ada" && again.is_none() {
            again = Some(connect(&server, uid).await);
        }
        if hook_waits {
            assert!(notes.try_recv().is_err(), "the close hook runs beside the handler");
            house.gate.arrived(u32::from(how == How::CloseInHandlerThatWaits)).await;
            house.gate.open(1);
            assert_eq!(note(&mut notes).await, "ada: true", "the handler joins a room after the end");
            assert_eq!(note(&mut notes).await, format!("ada: {reason}"));
        }
        if let (Some(bob), Some(again)) = (&mut bob, again) {
            let sockets = if matches!(how, How::Closes | How::Lost) { None } else { Some(3) };
            is_back(&hub, bob, again, sockets).await;
            assert_eq!(note(&mut notes).await, "ada: lost");
        }
        how.read_at_last(ada, close).await;
        drop(bob);
        server.emptied().await;
        assert_eq!(sizes(&hub), (0, 0));
        if how == How::Drain { server.ended().await } else { server.stop().await }
    })
    .await;
}

#[tokio::test]
async fn what_was_queued_before_the_end_is_sent_before_the_close_frame() {
    let (house, _notes) = house();
    let server = TestServer::start(How::Kick.server(house.clone())).await;
    let hub = server.hub();
    let mut ada = connect(&server, "ada").await;
    ada.heartbeat().await;
    for number in 0..3 {
        assert_eq!(hub.room("inn").send(&Note::new(number, 0)).unwrap(), 1);
    }
    assert_eq!(hub.user("ada").kick(kicked()), 1);
    assert_eq!(hub.room("inn").send(&Note::new(3, 0)).unwrap(), 0);
    assert!(matches!(house.guest("ada").send(&Note::new(4, 0)), Err(SendError::Closed)));
    for number in 0..3 {
        let frame = ada.frame().await;
        assert!(frame.starts_with(&Note::text(number)), "{frame}");
    }
    assert_eq!(ada.frame().await, "close 4501");
    ada.answer_close(4501).await;
    server.stop().await;
}

#[tokio::test]
async fn a_lingering_socket_keeps_its_slot_until_it_is_closed() {
    let (house, mut notes) = house();
    let server = TestServer::start(How::Kick.server(house).max_connections(1)).await;
    let mut ada = connect(&server, "ada").await;
    ada.heartbeat().await;
    assert_eq!(server.hub().user("ada").kick(kicked()), 1);
    assert_eq!(note(&mut notes).await, "ada: closed by the server: 4501 \"out\"");
    let refused = Upgrade::new(server.address()).path("/ws?uid=bob").ask(server.address()).await;
    assert_eq!((refused.status, refused.error_code().as_str()), (503, "unavailable"));
    assert_eq!(ada.frame().await, "close 4501");
    ada.answer_close(4501).await;
    until("a free slot", async || (server.hub().connections() == 0).then_some(())).await;
    connect(&server, "bob").await.heartbeat().await;
    server.stop().await;
}

/// A dispatcher whose close hook waits for the test, and notes the rooms that it can still reach.
#[derive(Clone)]
struct Slow {
    gate: Gate,
    notes: UnboundedSender<String>,
}

#[kengine::dispatcher]
impl Slow {
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<Uid, Refusal> {
        Ok(Uid::new(handshake.query("uid").unwrap_or_default())?)
    }

    #[open]
    async fn settle(&self, hub: &Hub, connection: &Connection<Uid>) -> Result<(), Error> {
        Ok(hub.room("inn").join(connection).await?)
    }

    #[close]
    async fn see_off(&self, hub: &Hub, connection: &Connection<Uid>) {
        let reached = connection.rooms().iter().map(|room| room.send(&Note::new(7, 0)).unwrap()).sum::<usize>();
        let _ = self.notes.send(format!("{}: {reached} {}", connection.uid(), hub.room("inn").contains(connection)));
        self.gate.pass().await;
    }

    #[route]
    async fn never(&self) {}
}

#[tokio::test]
async fn a_close_hook_can_still_reach_the_rooms_and_delays_no_close_handshake() {
    let (notes, mut read) = unbounded_channel();
    let slow = Slow { gate: Gate::default(), notes };
    let server = TestServer::start(Server::new(slow.clone()).close_timeout(Duration::MAX)).await;
    let (mut ada, mut bob) = (connect(&server, "ada").await, connect(&server, "bob").await);
    ada.heartbeat().await;
    bob.heartbeat().await;
    assert_eq!(server.hub().user("ada").kick(kicked()), 1);
    assert_eq!(note(&mut read).await, "ada: 1 false");
    slow.gate.arrived(1).await;
    assert!(bob.frame().await.starts_with(&Note::text(7)));
    assert_eq!(ada.frame().await, "close 4501");
    ada.answer_close(4501).await;
    assert_eq!(server.hub().connections(), 2, "the slot is free before the close hook has ended");
    slow.gate.open(2);
    until("a free slot", async || (server.hub().connections() == 1).then_some(())).await;
    drop(bob);
    server.stop().await;
}

#[tokio::test]
async fn the_end_of_a_drain_cuts_lingering_sockets_off() {
    let (house, mut notes) = house();
    let server = How::Kick.server(house).drain_timeout(Duration::from_millis(100));
    let server = TestServer::start(server).await;
    let mut ada = connect(&server, "ada").await;
    ada.heartbeat().await;
    assert_eq!(server.hub().user("ada").kick(kicked()), 1);
    assert_eq!(note(&mut notes).await, "ada: closed by the server: 4501 \"out\"");
    server.stop().await;
    assert!(notes.try_recv().is_err(), "the close hook ran twice");
}

#[tokio::test]
async fn a_kick_ends_a_connection_whose_node_waits_for_its_handler() {
    let (house, mut notes) = house();
    let mut server = TestServer::start(How::Kick.server(house.clone())).await;
    let mut ada = connect(&server, "ada").await;
    ada.send_frames([request("wait")]).await;
    house.gate.arrived(1).await;
    server.shut_down();
    server.drains().await;
    assert_eq!(sizes(server.hub()), (1, 1), "a connection that drains is a member until its handler has ended");
    assert_eq!(server.hub().user("ada").kick(kicked()), 1);
    is_gone(server.hub(), "ada", 0).await;
    assert_eq!(ada.frame().await, "close 4501");
    house.gate.open(1);
    assert_eq!(note(&mut notes).await, "ada: true");
    assert_eq!(note(&mut notes).await, "ada: closed by the server: 4501 \"out\"");
    ada.answer_close(4501).await;
    server.ended().await;
}

#[tokio::test]
async fn the_seat_of_a_kicked_player_is_free_at_once() {
    let (house, _notes) = house();
    let server = TestServer::start(How::Kick.server(house.clone())).await;
    let hub = server.hub();
    let mut clients = Vec::new();
    for uid in ["ada", "bob", "eve"] {
        let mut client = connect(&server, uid).await;
        client.heartbeat().await;
        clients.push(client);
    }
    let (ada, bob, eve) = (house.guest("ada"), house.guest("bob"), house.guest("eve"));
    let duos = hub.rooms("duo-");
    let first = duos.fill(2, &ada).await.unwrap().name().to_owned();
    assert_eq!(duos.fill(2, &bob).await.unwrap().name(), first);
    assert!(hub.room(&*first).contains(&ada) && !hub.room(&*first).contains(&eve));
    assert_eq!(hub.user("ada").kick(kicked()), 1);
    assert!(!hub.room(&*first).contains(&ada) && !hub.room(&*first).leave(&ada));
    assert_eq!(duos.fill(2, &eve).await.unwrap().name(), first, "the seat was still taken");
    hub.room("inn").leave(&eve);
    let again = hub.room("inn").join(&eve).guard(|inside| {
        assert!((inside.len(), inside.contains(ada.uid())) == (1, false), "a guard saw the kicked player");
        Ok(())
    });
    again.await.expect("a guard that lets everybody in");
    drop(clients);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_kick_among_joins_leaves_no_membership() {
    const ROUNDS: usize = 200;
    let (house, _notes) = house();
    let server = TestServer::start(How::Kick.server(house.clone())).await;
    for round in 0..ROUNDS {
        let mut client = connect(&server, "ada").await;
        client.heartbeat().await;
        let (hub, ada) = (server.hub().clone(), house.guest("ada"));
        let joining = tokio::spawn(async move {
            loop {
                let joined = hub.room("mill").join(&ada).with_presence().await;
                let seated = hub.rooms("duo-").fill(2, &ada).await.map(|room| _ = room.leave(&ada));
                if let Err(error) = joined.and(seated) {
                    assert!(matches!(error, JoinError::Closed), "{error}");
                    return;
                }
            }
        });
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(server.hub().user("ada").kick(kicked()), 1, "round {round}");
        assert_eq!(sizes(server.hub()), (0, 0), "round {round}");
        within("the last join", joining).await.expect("no panic");
        assert_eq!(sizes(server.hub()), (0, 0), "round {round}");
        assert_eq!(server.hub().user("ada").connections(), 0, "round {round}");
    }
    server.emptied().await;
    server.stop().await;
}
