//! A player whose seat is in a room of another node goes through the gateway to that node, and has the seat there.

use std::time::Duration;

use kengine::cluster::gateway::Gateway;
use kengine_tests::{Client, RedisServer, TestGateway, TestServer, Town};

const LEASE: Duration = Duration::from_secs(6);

/// The room and its host, as the routes `fill` and `fill_again` answer.
fn place(answer: &str) -> (String, String) {
    let (room, host) = answer.trim_start_matches("1: [").trim_end_matches(']').split_once(',').expect("a pair");
    (room.trim_matches('"').to_owned(), host.trim_matches('"').to_owned())
}

async fn fill(player: &mut Client) -> (String, String) {
    place(&player.ask(r#"{"method":"fill","message":["duo-",2],"id":1}"#).await)
}

/// Returns the node that serves a user.
fn node_of<'n>(nodes: &'n [TestServer], uid: &str) -> &'n TestServer {
    let mut serving = nodes.iter().filter(|node| node.hub().user(uid).is_here());
    let node = serving.next().expect("a node that serves the user");
    assert!(serving.next().is_none(), "two nodes serve {uid}");
    node
}

#[tokio::test]
async fn a_player_follows_the_seat_to_the_node_of_its_room() {
    let redis = RedisServer::start().await;
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(redis.serve(Town::node(&redis.url(), LEASE).seat_timeout(Duration::MAX)).await);
    }
    // The gateway does not know the users, as when their names are in tokens.
    let gateway = Gateway::new(&*redis.url()).idle_timeout(Town::IDLE_TIME).affinity("user", "room");
    let gateway = TestGateway::start_from(gateway).await;
    let connect = async |query: &str| Client::connect_to(gateway.address(), &format!("/ws?{query}")).await;
    let mut bob = connect("uid=bob").await;
    let (room, host) = fill(&mut bob).await;
    assert_eq!(host, "null");
    let home = node_of(&nodes, "bob").address();
    let mut ada = connect("uid=ada").await;
    assert_ne!(node_of(&nodes, "ada").address(), home, "the gateway has not spread the players");
    assert_eq!(fill(&mut ada).await, (room.clone(), home.to_string()));

    // Ada connects again, while her first client hangs. Her seat is kept from a player who comes meanwhile.
    let mut again = connect(&format!("uid=ada&room={room}")).await;
    assert_eq!(ada.next().await, "close 4500");
    assert_eq!(node_of(&nodes, "ada").address(), home);
    let mut eve = connect(&format!("uid=eve&room={room}")).await;
    assert_eq!(node_of(&nodes, "eve").address(), home);
    let fill_again = format!(r#"{{"method":"fill_again","message":["duo-",2,"{room}"],"id":1}}"#);
    assert_eq!(eve.ask(&*fill_again).await, "1: error full");
    assert_eq!(place(&again.ask(&*fill_again).await), (room.clone(), "null".to_owned()));
    let who = format!(r#"{{"method":"who","message":"{room}","id":1}}"#);
    assert_eq!(again.ask(who).await, r#"1: ["ada","bob"]"#);

    // The next player is sent to another room. Its node is the player's own.
    let (next, host) = fill(&mut eve).await;
    assert_ne!(next, room);
    assert_eq!(host, "null");
    assert_eq!(gateway.errors(), "");
    drop((ada, again, bob, eve));
    for node in nodes {
        node.stop().await;
    }
}
