//! How often a connection may join rooms, and how many rooms a node may have.

use std::time::Duration;

use kengine::{
    Connection, Error, Hub, Server,
    room::{JoinError, Occupants},
    testing::{self, Served},
};
use kengine_tests::{Workshop, refusals};
use tokio::time::advance;

/// Connects this many clients; returns the server's handles of their connections. The clients read nothing.
/// They stay connected as long as they are kept.
async fn players(game: &Served<Workshop>, count: usize) -> (Vec<testing::Client>, Vec<Connection>) {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(game.connect("/ws").await.expect("a place"));
    }
    (clients, game.dispatcher().guests())
}

/// Joins rooms with these numbers until a join fails; returns the number of joins and the error.
async fn join_until_refused(hub: &Hub, connection: &Connection, leave: bool) -> (usize, JoinError) {
    for number in 0..1000 {
        let room = hub.room(format!("room {number}"));
        if let Err(error) = room.join(connection).await {
            return (number, error);
        }
        if leave {
            room.leave(connection);
        }
    }
    panic!("1,000 joins at once were allowed");
}

#[tokio::test(start_paused = true)]
async fn a_connection_joins_rooms_at_a_limited_rate() {
    for (server, at_once, per_second) in [
        (Server::new(Workshop::default()), 50, 10),
        (Server::new(Workshop::default()).max_joins_per_second(2, 3), 3, 2),
    ] {
        let game = testing::serve(server);
        let (_clients, connections) = players(&game, 2).await;
        let hub = game.hub();
        let (joins, error) = join_until_refused(&hub, &connections[0], true).await;
        assert!(matches!(error, JoinError::TooOften), "{error}");
        assert_eq!(joins, at_once);
        assert_eq!(kengine::Error::from(error).code(), "rate_limited");
        assert!(matches!(hub.rooms("arena-").fill(2, &connections[0]).await, Err(JoinError::TooOften)));
        advance(Duration::from_secs(1)).await;
        assert_eq!(join_until_refused(&hub, &connections[0], true).await.0, per_second);
        // Another connection has its own rate, and a member may join its room again.
        for _ in 0..100 {
            hub.room("lobby").join(&connections[1]).await.expect("the first join, or none");
        }
        assert_eq!(refusals(&game.hub(), "max_joins_per_second"), 3);
        // A refused join creates no room.
        assert_eq!(hub.rooms("").local_list().len(), 1);
    }
}

#[tokio::test]
async fn rooms_are_listed_page_by_page() {
    let game = testing::serve(Server::new(Workshop::default()));
    let (_clients, connections) = players(&game, 1).await;
    let hub = game.hub();
    for name in ["b 1", "a 3", "a 1", "b 2", "a 2"] {
        hub.room(name).join(&connections[0]).await.expect("a few rooms");
    }
    let page = |prefix: &str, after: &str, max| {
        hub.rooms(prefix.to_owned()).local_page(after, max).into_iter().map(|room| room.name).collect::<Vec<_>>()
    };
    assert_eq!(page("", "", 2), ["a 1", "a 2"]);
    assert_eq!(page("", "a 2", 2), ["a 3", "b 1"]);
    assert_eq!(page("", "b 1", 2), ["b 2"]);
    assert_eq!(page("", "b 2", 2), [""; 0]);
    assert_eq!(page("", "a 2 which ended", 1), ["a 3"]);
    assert_eq!(page("a", "a 1", 5), ["a 2", "a 3"]);
    assert_eq!(page("b", "", 1), ["b 1"]);
    assert_eq!(page("", "", 0), [""; 0]);
    assert_eq!(page("", "", usize::MAX).len(), 5);
}

#[tokio::test]
async fn the_prefix_of_rooms_with_seats_has_1_to_27_bytes_and_no_control_character() {
    let game = testing::serve(Server::new(Workshop::default()));
    let (_clients, connections) = players(&game, 1).await;
    let hub = game.hub();
    let (longest, too_long) = ("x".repeat(27), "x".repeat(28));
    for prefix in ["", &too_long, "a\nb", "a\u{202e}b"] {
        let refused = hub.rooms(prefix).fill(2, &connections[0]).await.map(|_| ());
        assert!(matches!(refused, Err(JoinError::InvalidPrefix)), "{prefix:?}: {refused:?}");
    }
    for prefix in ["é", &longest] {
        let room = hub.rooms(prefix).fill(2, &connections[0]).await.expect("a seat").name().to_owned();
        assert!(room.starts_with(prefix) && room.len() <= 64, "{room}");
    }
}

#[tokio::test]
async fn guards_and_members_tell_whether_a_room_is_empty() {
    let game = testing::serve(Server::new(Workshop::default()));
    let (_clients, connections) = players(&game, 2).await;
    let hub = game.hub();
    let room = hub.room("lobby");
    assert!(room.members().await.is_empty());
    for (connection, is_first) in connections.iter().zip([true, false]) {
        let guard = move |inside: Occupants<'_>| {
            if inside.is_empty() == is_first { Ok(()) } else { Err(Error::new("wrong", "")) }
        };
        room.join(connection).guard(guard).await.expect("what the guard sees is right");
        assert!(!room.members().await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_has_a_maximum_of_rooms() {
    const ROOMS: usize = 5;
    let game = testing::serve(Server::new(Workshop::default()).max_rooms(ROOMS));
    let (clients, connections) = players(&game, 2).await;
    let (hub, one, other) = (game.hub(), &connections[0], &connections[1]);
    let (joins, error) = join_until_refused(&hub, one, false).await;
    assert!(matches!(error, JoinError::NoMoreRooms(ROOMS)), "{error}");
    assert_eq!(joins, ROOMS);
    assert_eq!(kengine::Error::from(error).code(), "unavailable");
    assert!(matches!(hub.rooms("arena-").fill(2, other).await, Err(JoinError::NoMoreRooms(ROOMS))));
    assert_eq!(refusals(&hub, "max_rooms"), 2);
    assert_eq!(hub.rooms("").local_list().len(), ROOMS);
    // Rooms that exist may be joined.
    hub.room("room 3").join(other).await.expect("a room that exists");
    // A room that ends frees a slot for another one.
    hub.room("room 0").leave(one);
    hub.rooms("arena-").fill(2, other).await.expect("a slot for a room");
    assert!(matches!(hub.room("lobby").join(other).await, Err(JoinError::NoMoreRooms(ROOMS))));
    drop(clients);
    game.emptied().await;
    let (_clients, connections) = players(&game, 1).await;
    assert_eq!(join_until_refused(&hub, connections.last().expect("a guest"), false).await.0, ROOMS);
}
