//! A player who comes back while the old socket hangs: the newer connection has the uid, the seat and what the game
//! keeps for the user at once, and the hooks of a user's connections run one after another. Here the close timeout
//! never ends, and the old clients neither read nor answer the close frame.

use std::time::Duration;

use kengine::{Close, CloseCode, Duplicates, Hub};
use kengine_tests::{ClientFrame, Hall, RawClient, Said, TestServer, until};

fn kicked() -> Close {
    Close::new(CloseCode::KICKED, "out")
}

/// Returns the numbers of players in all matches, in ascending order.
fn matches(hub: &Hub) -> Vec<usize> {
    let mut matches: Vec<_> = hub.rooms("match-").local_list().iter().map(|room| room.members).collect();
    matches.sort_unstable();
    matches
}

/// Fills a match, and returns its room and its players.
async fn fill(server: &TestServer, uids: &[&str]) -> (String, Vec<RawClient>) {
    let (mut room, mut clients) = (String::new(), Vec::new());
    for uid in uids {
        let mut client = Hall::enter(server.address(), uid).await;
        room = client.ask(Hall::request("play")).await;
        clients.push(client);
    }
    (room, clients)
}

/// Connects as a user who has the uid when this returns, although `#[open]` may not have run yet.
async fn comes_back(server: &TestServer, uid: &str) -> RawClient {
    let mut client = Hall::connect(server.address(), uid).await;
    ping(&mut client).await;
    client
}

/// Sends a ping, which a connection answers also while it waits for its turn.
async fn ping(client: &mut RawClient) {
    client.send_frames([ClientFrame::ping("here")]).await;
    assert_eq!(client.frame().await, "pong \"here\"");
}

const NINE: [&str; 9] = ["ada", "bob", "cy", "dee", "eve", "fay", "gus", "hal", "ida"];

#[tokio::test]
async fn a_player_who_returns_is_back_in_the_room_the_seat_and_the_score() {
    let hall = Hall::default();
    let server = TestServer::start(hall.server()).await;
    let (room, mut clients) = fill(&server, &NINE).await;
    for client in &mut clients[..Hall::TABLE] {
        assert_eq!(client.ask(Hall::request("sit")).await, "1: null");
    }
    let ada = &mut clients[0];
    assert_eq!(ada.ask(Hall::request("score")).await, "1: 1");
    hall.notes();

    // From here on, the first client of Ada hangs.
    let mut again = Hall::enter(server.address(), "ada").await;
    assert_eq!(hall.notes(), ["close ada: replaced by a newer connection", "open ada"]);
    assert_eq!((server.hub().user("ada").connections(), server.hub().connections()), (1, 10));
    assert_eq!(again.ask(Hall::request("sit")).await, "1: null", "the older connection holds a chair");
    assert_eq!(again.ask(Hall::request("play")).await, room, "the older connection holds the seat");
    assert_eq!(again.ask(Hall::request("score")).await, "1: 2");
    assert_eq!((matches(server.hub()), server.hub().room("match-").members().await.len()), (vec![9], 0));
    // The end of the old socket takes nothing from the newer connection.
    let mut old = clients.remove(0);
    assert_eq!(old.frame().await, "close 4500");
    old.answer_close(4500).await;
    until("the end of the socket", async || (server.hub().connections() == 9).then_some(())).await;
    assert_eq!(again.ask(Hall::request("score")).await, "1: 3");
    assert_eq!(matches(server.hub()), [9]);
    assert_eq!(hall.notes(), [""; 0]);
    drop((clients, again));
    server.stop().await;
}

#[tokio::test]
async fn the_seat_is_kept_for_the_player_who_returns() {
    let hall = Hall::default();
    let server = TestServer::start(hall.server()).await;
    let (room, clients) = fill(&server, &NINE).await;
    let mut again = Hall::enter(server.address(), "ada").await;
    let mut newcomer = Hall::enter(server.address(), "newcomer").await;
    assert_ne!(newcomer.ask(Hall::request("play")).await, room, "the newcomer took the seat of Ada");
    assert_eq!(matches(server.hub()), [1, 8]);
    // It is also kept if she comes back once more before she plays.
    let mut once_more = Hall::enter(server.address(), "ada").await;
    assert_eq!(again.frame().await, "close 4500");
    assert_eq!(once_more.ask(Hall::request("play")).await, room);
    assert_eq!(matches(server.hub()), [1, 9]);
    // A kick gives it back at once, whether it is taken or kept.
    let mut users = Vec::new();
    for uid in ["ada", "bob"] {
        let mut client = Hall::enter(server.address(), uid).await;
        if uid == "bob" {
            assert_eq!(client.ask(Hall::request("play")).await, room);
        }
        assert_eq!(server.hub().user(uid).kick(kicked()), 1);
        let mut other = Hall::enter(server.address(), &format!("after {uid}").replace(' ', "-")).await;
        assert_eq!(other.ask(Hall::request("play")).await, room, "the seat of {uid} is not free");
        drop(other);
        until("the free seat", async || (matches(server.hub()).last() == Some(&8)).then_some(())).await;
        let mut user = Hall::enter(server.address(), uid).await;
        assert_eq!(user.ask(Hall::request("play")).await, room);
        users.extend([client, user]);
    }
    drop((clients, newcomer, again, once_more, users));
    server.stop().await;
}

#[tokio::test]
async fn a_player_who_was_alone_finds_the_room_again() {
    let hall = Hall::default();
    let server = TestServer::start(hall.server()).await;
    let (room, clients) = fill(&server, &["ada"]).await;
    let mut again = Hall::enter(server.address(), "ada").await;
    assert_eq!(matches(server.hub()), [0_usize; 0]);
    assert_eq!(again.ask(Hall::request("play")).await, room);
    assert_eq!(matches(server.hub()), [1]);
    drop((clients, again));
    server.stop().await;
}

#[tokio::test]
async fn a_seat_is_kept_for_a_limited_time() {
    let hall = Hall::default();
    let server = TestServer::start(hall.server().seat_timeout(Duration::ZERO)).await;
    let (room, clients) = fill(&server, &NINE).await;
    let again = Hall::enter(server.address(), "ada").await;
    let mut newcomer = Hall::enter(server.address(), "newcomer").await;
    assert_eq!(newcomer.ask(Hall::request("play")).await, room);
    drop((clients, again, newcomer));
    server.stop().await;
}

#[tokio::test]
async fn open_waits_for_the_close_of_the_older_connection() {
    let hall = Hall::default();
    let server = TestServer::start(hall.server()).await;
    let mut old = Hall::enter(server.address(), "ada").await;
    assert_eq!(old.ask(Hall::request("score")).await, "1: 1");
    hall.notes();
    hall.hold_closes(true);
    let mut again = comes_back(&server, "ada").await;
    hall.gate.arrived(1).await;
    // Other users are not delayed, and neither is the close handshake. Pings are answered, and messages wait.
    let mut bob = Hall::enter(server.address(), "bob").await;
    assert_eq!(bob.ask(Hall::request("score")).await, "1: 1");
    assert_eq!(old.frame().await, "close 4500");
    ping(&mut again).await;
    again.send_frames([ClientFrame::text(Hall::request("score"))]).await;
    assert_eq!(hall.notes(), ["open bob"]);
    hall.gate.open(1);
    assert_eq!(again.frame().await, "1: 2");
    assert_eq!(hall.notes(), ["close ada: replaced by a newer connection", "open ada"]);
    hall.hold_closes(false);
    drop((old, again, bob));
    server.stop().await;
}

#[tokio::test]
async fn open_waits_for_the_handler_of_the_older_connection() {
    let hall = Hall::default();
    let server = TestServer::start(hall.server()).await;
    let mut old = Hall::enter(server.address(), "ada").await;
    assert_eq!(old.ask(Hall::request("play")).await.get(..3), Some("1: "));
    hall.notes();
    old.send_frames([ClientFrame::text(Hall::request("wait"))]).await;
    hall.gate.arrived(1).await;
    let mut again = comes_back(&server, "ada").await;
    // The older one has left at once, although its handler runs.
    assert_eq!((matches(server.hub()), server.hub().user("ada").connections()), (vec![], 1));
    assert_eq!(hall.notes(), [""; 0]);
    hall.gate.open(1);
    again.heartbeat().await;
    assert_eq!(hall.notes(), ["close ada: replaced by a newer connection", "open ada"]);
    drop((old, again));
    server.stop().await;
}

#[tokio::test]
async fn a_handler_of_a_replaced_connection_is_cancelled_after_the_handler_timeout() {
    let hall = Hall::default();
    let server = TestServer::start(hall.server().handler_timeout(Duration::from_millis(50))).await;
    let mut old = Hall::enter(server.address(), "ada").await;
    old.send_frames([ClientFrame::text(Hall::request("wait_for_long"))]).await;
    hall.gate.arrived(1).await;
    hall.notes();
    let mut again = Hall::enter(server.address(), "ada").await;
    assert_eq!(hall.notes(), ["close ada: replaced by a newer connection", "open ada"]);
    // So is a close hook.
    hall.hold_closes(true);
    let mut once_more = Hall::enter(server.address(), "ada").await;
    hall.gate.arrived(1).await;
    assert_eq!(hall.notes(), ["open ada"]);
    hall.hold_closes(false);
    assert_eq!(again.frame().await, "close 4500");
    once_more.heartbeat().await;
    drop((old, again, once_more));
    server.stop().await;
}

/// Messages that were read before the socket failed are handled, but not after a newer connection has the uid.
#[tokio::test]
async fn messages_of_a_broken_socket_do_not_delay_the_newer_connection() {
    let hall = Hall::default();
    let server = TestServer::start(hall.server()).await;
    let mut old = Hall::enter(server.address(), "ada").await;
    // So many that the server reads no more, and finds the end of the socket only when it writes.
    let waits = format!(r#"{{"method":"wait","message":null,"ballast":"{}"}}"#, "x".repeat(1000));
    old.send_while_taken(10_000, |_| ClientFrame::text(&waits)).await;
    hall.gate.arrived(1).await;
    old.reset();
    until("the failure of a write", async || {
        let connection = server.hub().user("ada").send(&Said("hi".into())).unwrap();
        (connection == 0).then_some(())
    })
    .await;
    hall.notes();
    let again = comes_back(&server, "ada").await;
    hall.gate.open(1);
    assert_eq!(hall.noted(2).await[1], "open ada");
    drop(again);
    server.stop().await;
}

#[tokio::test]
async fn of_many_connections_in_a_row_each_closes_once_and_the_newest_stays() {
    const TIMES: usize = 100;
    let hall = Hall::default();
    let server = TestServer::start(hall.server()).await;
    let mut clients = Vec::new();
    for _ in 0..TIMES {
        clients.push(comes_back(&server, "ada").await);
    }
    let newest = clients.last_mut().expect("a client");
    newest.heartbeat().await;
    let notes = hall.notes();
    // A connection that is replaced before its `#[open]` has begun runs neither hook.
    assert_eq!(notes.len() % 2, 1, "{notes:?}");
    for (at, note) in notes.iter().enumerate() {
        let expected = if at % 2 == 0 { "open ada" } else { "close ada: replaced by a newer connection" };
        assert_eq!(note, expected, "{notes:?}");
    }
    assert_eq!(server.hub().user("ada").connections(), 1);
    for old in &mut clients[..TIMES - 1] {
        assert_eq!(old.frame().await, "close 4500");
    }
    drop(clients);
    server.stop().await;
}

#[tokio::test]
async fn connections_that_wait_and_are_replaced_run_no_hook() {
    let hall = Hall::default();
    let server = TestServer::start(hall.server()).await;
    let first = Hall::enter(server.address(), "ada").await;
    hall.hold_closes(true);
    hall.notes();
    let mut waiting = Vec::new();
    for _ in 0..10 {
        waiting.push(comes_back(&server, "ada").await);
    }
    let newest = comes_back(&server, "ada").await;
    // They do not wait for the first one to learn that they have lost the uid.
    for client in &mut waiting {
        assert_eq!(client.frame().await, "close 4500");
    }
    assert_eq!(hall.notes(), [""; 0]);
    // A connection that is kicked while it waits runs no hook either.
    let mut unwanted = comes_back(&server, "ada").await;
    assert_eq!(server.hub().user("ada").kick(kicked()), 1);
    assert_eq!(unwanted.frame().await, "close 4501");
    let mut last = comes_back(&server, "ada").await;
    hall.gate.open(1);
    last.heartbeat().await;
    assert_eq!(hall.notes(), ["close ada: replaced by a newer connection", "open ada"]);
    hall.hold_closes(false);
    drop((first, waiting, newest, unwanted, last));
    server.stop().await;
}

/// The order of the hooks holds whatever has ended the older connection.
#[tokio::test]
async fn open_waits_for_the_close_of_a_kicked_connection() {
    for duplicates in [Duplicates::Replace, Duplicates::Refuse] {
        let hall = Hall::default();
        let server = TestServer::start(hall.server().duplicates(duplicates)).await;
        let old = Hall::enter(server.address(), "ada").await;
        hall.hold_closes(true);
        hall.notes();
        assert_eq!(server.hub().user("ada").kick(kicked()), 1);
        hall.gate.arrived(1).await;
        let mut again = comes_back(&server, "ada").await;
        if duplicates == Duplicates::Refuse {
            // The newer connection has the uid already while it waits.
            let mut refused = Hall::connect(server.address(), "ada").await;
            assert_eq!(refused.frame().await, "close 4503");
        }
        assert_eq!(hall.notes(), [""; 0]);
        hall.gate.open(1);
        again.heartbeat().await;
        assert_eq!(hall.notes(), ["close ada: closed by the server: 4501 \"out\"", "open ada"]);
        hall.hold_closes(false);
        drop((old, again));
        server.stop().await;
    }
}

#[tokio::test]
async fn connections_that_may_coexist_do_not_wait_for_each_other() {
    let hall = Hall::default();
    let server = TestServer::start(hall.server().duplicates(Duplicates::Allow)).await;
    let mut one = Hall::enter(server.address(), "ada").await;
    let mut other = Hall::enter(server.address(), "ada").await;
    hall.hold_closes(true);
    drop(one);
    hall.gate.arrived(1).await;
    one = Hall::enter(server.address(), "ada").await;
    hall.hold_closes(false);
    hall.gate.open(1);
    // A guard counts a user with two connections once.
    assert_eq!(one.ask(Hall::request("sit")).await, "1: null");
    assert_eq!(other.ask(Hall::request("sit")).await, "1: null");
    let mut others = Vec::new();
    for (uid, answer) in [("bob", "1: null"), ("cy", "1: null"), ("dee", "1: null"), ("eve", "1: error full")] {
        let mut client = Hall::enter(server.address(), uid).await;
        assert_eq!(client.ask(Hall::request("sit")).await, answer, "{uid}");
        others.push(client);
    }
    // Her chair is free when her last connection leaves.
    drop(one);
    until("the end", async || (server.hub().user("ada").connections() == 1).then_some(())).await;
    let eve = others.last_mut().expect("a client");
    assert_eq!(eve.ask(Hall::request("sit")).await, "1: error full");
    drop(other);
    until("the end", async || (server.hub().user("ada").connections() == 0).then_some(())).await;
    assert_eq!(eve.ask(Hall::request("sit")).await, "1: null");
    drop(others);
    server.stop().await;
}

#[tokio::test]
async fn a_drain_ends_a_connection_that_waits() {
    let hall = Hall::default();
    let server = hall.server().drain_timeout(Duration::from_millis(100));
    let server = TestServer::start(server).await;
    let old = Hall::enter(server.address(), "ada").await;
    hall.hold_closes(true);
    hall.notes();
    let again = comes_back(&server, "ada").await;
    hall.gate.arrived(1).await;
    // The close hook never ends, so it is cancelled, and the newer connection is cut off.
    server.stop().await;
    assert_eq!(hall.notes(), [""; 0]);
    drop((old, again));
}
