//! Seats of the cluster: no room has more players than seats, whichever nodes they come from.

use std::time::Duration;

use futures_util::future::join_all;
use kengine::{CloseCode, Duplicates, Server, cluster::Memory, testing};
use kengine_tests::{Client, Network, NodeProcess, Proxy, RedisServer, Said, TestServer, Town, until, without_rates};
use redis::AsyncCommands;

const LEASE: Duration = Duration::from_secs(6);
const SHORT_LEASE: Duration = Duration::from_millis(900);

fn sit(seats: usize) -> String {
    format!(r#"{{"method":"sit","message":["table",{seats}],"id":1}}"#)
}

const FILL: &str = r#"{"method":"fill","message":["duo-",2],"id":1}"#;

/// Fills a room of two. Returns its name and its host, `null` if that is the node of the player.
async fn fill(player: &mut Client) -> (String, String) {
    let answer = player.ask(FILL).await;
    let (room, host) = answer.trim_start_matches("1: [").trim_end_matches(']').split_once(',').expect("a pair");
    (room.trim_matches('"').to_owned(), host.trim_matches('"').to_owned())
}

async fn leave(player: &mut Client, room: &str) {
    let left = player.ask(format!(r#"{{"method":"leave","message":"{room}","id":2}}"#)).await;
    assert_eq!(left, "2: true");
}

/// Leaves a room, and waits until the seat is free for players of other nodes too.
async fn give_up(redis: &RedisServer, player: &mut Client, room: &str) {
    let mut connection = redis.connection().await;
    let seats = format!("{{kengine}}:seats:{room}");
    let before: usize = connection.hlen(&seats).await.unwrap();
    leave(player, room).await;
    until("the free seat", async || {
        let now: usize = connection.hlen(&seats).await.unwrap();
        (now < before).then_some(())
    })
    .await;
}

/// Waits until a seat is only kept for its player.
async fn is_kept(redis: &RedisServer, room: &str, uid: &str) {
    let mut connection = redis.connection().await;
    until("a seat that is kept", async || {
        let holders: Option<String> = connection.hget(format!("{{kengine}}:seats:{room}"), uid).await.unwrap();
        holders.is_some_and(|holders| holders.ends_with('~')).then_some(())
    })
    .await;
}

/// Waits until nothing is left in Redis of rooms with seats.
async fn nothing_is_left(redis: &RedisServer) {
    let mut directory = redis.directory().await;
    until("the end of all rooms", async || {
        let keys = directory.keys().await;
        let kinds = ["room", "seats", "rooms", "nodes", "family", "players"];
        let is_of_rooms = |key: &String| {
            let name = key.strip_prefix("{kengine}:").unwrap_or_default();
            kinds.iter().any(|kind| name == *kind || name.starts_with(&format!("{kind}:")))
        };
        (!keys.iter().any(is_of_rooms)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_room_of_four_seats_has_four_players_over_two_nodes() {
    let redis = RedisServer::start().await;
    let node = || Town::node(&redis.url(), LEASE);
    let nodes = [redis.serve(node()).await, redis.serve(node()).await];
    for round in 0..20 {
        let mut players = Vec::new();
        for (number, node) in nodes.iter().cycle().take(9).enumerate() {
            players.push(Town::connect(node.address(), format!("{round}-{number}")).await);
        }
        let answers = join_all(players.iter_mut().map(|player| player.ask(sit(4)))).await;
        let seated = answers.iter().filter(|answer| **answer == "1: null").count();
        let refused = answers.iter().filter(|answer| **answer == "1: error full").count();
        assert_eq!((seated, refused), (4, 5), "{answers:?}");
        assert_eq!(nodes[0].hub().room("table").members().await.len(), 4);
        // A seat that is given up is free for a player of the other node.
        let (leaves, enters) = (0..9)
            .find_map(|one| {
                let other = (0..9).find(|other| answers[*other] != answers[one] && (one + other) % 2 == 1)?;
                (answers[one] == "1: null").then_some((one, other))
            })
            .expect("players of both nodes");
        give_up(&redis, &mut players[leaves], "table").await;
        assert_eq!(players[enters].ask(sit(4)).await, "1: null");
        // Who sits already does not ask for another seat.
        assert_eq!(players[enters].ask(sit(4)).await, "1: null");
        drop(players);
        nothing_is_left(&redis).await;
    }
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_spectator_takes_no_seat() {
    let redis = RedisServer::start().await;
    let node = redis.serve(Town::node(&redis.url(), LEASE)).await;
    let [mut ada, mut bob, mut cleo] = [
        Town::connect(node.address(), "ada").await,
        Town::connect(node.address(), "bob").await,
        Town::connect(node.address(), "cleo").await,
    ];
    let watch = r#"{"method":"join","message":"table","id":1}"#;
    assert_eq!(ada.ask(watch).await, "1: null");
    assert_eq!(bob.ask(sit(1)).await, "1: null");
    assert_eq!(ada.ask(sit(1)).await, "1: error full");
    assert_eq!(cleo.ask(watch).await, "1: null");
    leave(&mut bob, "table").await;
    assert_eq!(ada.ask(sit(1)).await, "1: null", "a spectator may sit down");
    assert_eq!(bob.ask(sit(1)).await, "1: error full");
    leave(&mut ada, "table").await;
    assert_eq!(bob.ask(sit(1)).await, "1: null");
    drop((ada, bob, cleo));
    nothing_is_left(&redis).await;
    node.stop().await;
}

#[tokio::test]
async fn rooms_are_filled_across_nodes_and_those_of_the_own_node_first() {
    let redis = RedisServer::start().await;
    let node = || Town::node(&redis.url(), LEASE);
    let (one, other) = (redis.serve(node()).await, redis.serve(node()).await);
    let mut ada = Town::connect(one.address(), "ada").await;
    let mut bob = Town::connect(other.address(), "bob").await;
    let mut cleo = Town::connect(one.address(), "cleo").await;
    let mut dan = Town::connect(other.address(), "dan").await;
    let (first, host) = fill(&mut ada).await;
    assert_eq!(host, "null");
    let host_of = |server: &TestServer| server.address().to_string();
    assert_eq!(fill(&mut bob).await, (first.clone(), host_of(&one)));
    // A gateway sends Bob's client to that node, if it names the room.
    let place: String = redis.connection().await.get(format!("kengine:room:{first}")).await.unwrap();
    assert_eq!(place, host_of(&one));
    assert_eq!(fill(&mut bob).await, (first.clone(), host_of(&one)), "who sits already stays");

    let (second, _) = fill(&mut dan).await;
    assert_ne!(second, first, "the first room is full");
    give_up(&redis, &mut bob, &first).await;
    // Both rooms have a free seat.
    assert_eq!(fill(&mut cleo).await, (first.clone(), "null".to_owned()));
    assert_eq!(fill(&mut bob).await, (second.clone(), "null".to_owned()));

    // The host leaves, so the room is of the node whose player is left.
    leave(&mut ada, &first).await;
    leave(&mut cleo, &first).await;
    give_up(&redis, &mut dan, &second).await;
    assert_eq!(fill(&mut ada).await, (second.clone(), host_of(&other)));
    give_up(&redis, &mut bob, &second).await;
    // This is told with the next report.
    until("the new host", async || {
        let (room, host) = fill(&mut cleo).await;
        assert_eq!(room, second);
        leave(&mut cleo, &room).await;
        (host == "null").then_some(())
    })
    .await;
    drop((ada, bob, cleo, dan));
    nothing_is_left(&redis).await;
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_room_to_which_a_player_comes_back_by_its_name_gets_newcomers() {
    let redis = RedisServer::start().await;
    let node = || Town::node(&redis.url(), LEASE);
    let (one, other) = (redis.serve(node()).await, redis.serve(node()).await);
    let mut ada = Town::connect(one.address(), "ada").await;
    let mut bob = Town::connect(other.address(), "bob").await;
    let mut eve = Town::connect(other.address(), "eve").await;
    let (room, _) = fill(&mut ada).await;
    leave(&mut ada, &room).await;
    let again = format!(r#"{{"method":"fill_again","message":["duo-",2,"{room}"],"id":1}}"#);
    assert_eq!(ada.ask(&*again).await, format!(r#"1: ["{room}",null]"#));
    assert_eq!(fill(&mut ada).await.0, room, "who sits already stays");
    assert_eq!(fill(&mut bob).await, (room.clone(), one.address().to_string()), "it gets no newcomers");
    assert_eq!(eve.ask(&*again).await, "1: error full");
    let elsewhere = r#"{"method":"fill_again","message":["duo-",2,"trio-1"],"id":1}"#;
    assert_eq!(eve.ask(elsewhere).await, "1: error bad_request");
    // A room that only has seats is not filled until somebody comes back to it like this.
    leave(&mut ada, &room).await;
    leave(&mut bob, &room).await;
    nothing_is_left(&redis).await;
    let sit = format!(r#"{{"method":"sit","message":["{room}",2],"id":1}}"#);
    assert_eq!(ada.ask(sit).await, "1: null");
    let (second, _) = fill(&mut eve).await;
    assert_ne!(second, room);
    leave(&mut eve, &second).await;
    assert_eq!(bob.ask(&*again).await, format!(r#"1: ["{room}","{}"]"#, one.address()));
    give_up(&redis, &mut ada, &room).await;
    assert_eq!(fill(&mut eve).await.0, room);
    drop((ada, bob, eve));
    nothing_is_left(&redis).await;
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_player_keeps_the_seat_on_a_newer_connection() {
    let redis = RedisServer::start().await;
    // What is kept is kept until it is taken.
    let node = || Town::node(&redis.url(), LEASE).close_timeout(Duration::MAX).seat_timeout(Duration::MAX);
    let nodes = [redis.serve(node()).await, redis.serve(node()).await];
    for (first, second) in [(0, 0), (0, 1)] {
        // Her first client hangs: nobody reads what it gets.
        let mut hung = Town::connect(nodes[first].address(), "ada").await;
        let mut bob = Town::connect(nodes[0].address(), "bob").await;
        let mut eve = Town::connect(nodes[1].address(), "eve").await;
        let (room, _) = fill(&mut hung).await;
        assert_eq!(fill(&mut bob).await.0, room);
        let mut ada = Town::connect(nodes[second].address(), "ada").await;
        assert_ne!(fill(&mut eve).await.0, room, "the seat of a player who comes back was given away");
        assert_eq!(fill(&mut ada).await.0, room);
        leave(&mut ada, &room).await;
        drop((hung, bob, eve, ada));
        nothing_is_left(&redis).await;

        // The same in a room of her own, which is empty until she comes back.
        let mut hung = Town::connect(nodes[first].address(), "ada").await;
        let (room, _) = fill(&mut hung).await;
        let mut ada = Town::connect(nodes[second].address(), "ada").await;
        until("the end of the older connection", async || {
            (first == second || !nodes[first].hub().user("ada").is_here()).then_some(())
        })
        .await;
        if first != second {
            // Redis learns from one node that the seat is kept, and from the other one that it is taken.
            is_kept(&redis, &room, "ada").await;
        }
        assert_eq!(fill(&mut ada).await, (room, "null".to_owned()), "the room is of the node to which she came back");
        drop((hung, ada));
        nothing_is_left(&redis).await;
    }
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_player_who_is_kicked_keeps_no_seat() {
    let redis = RedisServer::start().await;
    let cluster = Memory::new();
    // Without a kick, what is kept is kept until it is taken.
    let in_redis = || redis.serve(Town::node(&redis.url(), LEASE).seat_timeout(Duration::MAX));
    let in_memory = || TestServer::start(without_rates(Town).cluster(&cluster).seat_timeout(Duration::MAX));
    for nodes in [[in_redis().await, in_redis().await], [in_memory().await, in_memory().await]] {
        for (newer, kicking) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let sit = format!(r#"{{"method":"sit","message":["table {newer} {kicking}",1],"id":1}}"#);
            let mut ada = Town::connect(nodes[0].address(), "ada").await;
            assert_eq!(ada.ask(&*sit).await, "1: null");
            let mut newest = Town::connect(nodes[newer].address(), "ada").await;
            assert_eq!(ada.next().await, "close 4500");
            let mut bob = Town::connect(nodes[1].address(), "bob").await;
            assert_eq!(bob.ask(&*sit).await, "1: error full");
            nodes[kicking].hub().user("ada").kick(CloseCode::KICKED);
            assert_eq!(newest.next().await, "close 4501");
            until("the free seat", async || (bob.ask(&*sit).await == "1: null").then_some(())).await;
        }
    }
}

#[tokio::test]
async fn connections_of_one_uid_share_a_seat() {
    let redis = RedisServer::start().await;
    let node = || Town::node(&redis.url(), LEASE).duplicates(Duplicates::Allow);
    let (one, other) = (redis.serve(node()).await, redis.serve(node()).await);
    let mut adas = Vec::new();
    for node in [&one, &one, &other] {
        let mut ada = Town::connect(node.address(), "ada").await;
        assert_eq!(ada.ask(sit(1)).await, "1: null");
        adas.push(ada);
    }
    let mut bob = Town::connect(other.address(), "bob").await;
    for mut ada in adas {
        assert_eq!(bob.ask(sit(1)).await, "1: error full");
        leave(&mut ada, "table").await;
    }
    until("the free seat", async || (bob.ask(sit(1)).await == "1: null").then_some(())).await;
    drop(bob);
    one.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn the_seats_of_a_killed_node_come_free_with_its_lease() {
    let redis = RedisServer::start().await;
    let mut killed = redis.spawn_node(env!("CARGO_BIN_EXE_node"), SHORT_LEASE).await;
    let node = redis.serve(Town::node(&redis.url(), SHORT_LEASE)).await;
    let mut bob = Town::connect(node.address(), "bob").await;
    let mut ada = Town::connect(killed.address(), "ada").await;
    assert_eq!(ada.ask(sit(1)).await, "1: null");
    let (duo, _) = fill(&mut ada).await;
    let address = killed.address();
    killed.kill();
    let mut directory = redis.directory().await;
    until("the free seat", async || match &*bob.ask(sit(1)).await {
        "1: null" => Some(()),
        answer => {
            assert_eq!(answer, "1: error full");
            None
        }
    })
    .await;
    directory.lives(address, false).await;
    // The room of two has ended, and its seats are forgotten.
    until("the end of a room", async || {
        let exists: bool = directory.redis.exists(format!("{{kengine}}:seats:{duo}")).await.unwrap();
        (!exists).then_some(())
    })
    .await;
    drop(bob);
    nothing_is_left(&redis).await;
    node.stop().await;
}

#[tokio::test]
async fn a_new_process_at_the_address_of_a_killed_one_does_not_keep_its_seats() {
    let redis = RedisServer::start().await;
    let mut killed = redis.spawn_node(env!("CARGO_BIN_EXE_node"), LEASE).await;
    let node = redis.serve(Town::node(&redis.url(), LEASE)).await;
    let address = killed.address();
    let mut ada = Town::connect(address, "ada").await;
    let mut bob = Town::connect(node.address(), "bob").await;
    assert_eq!(ada.ask(sit(1)).await, "1: null");
    killed.kill();
    let new = NodeProcess::start(env!("CARGO_BIN_EXE_node"), address, &redis.url(), LEASE).await;
    until("the free seat", async || (bob.ask(sit(1)).await == "1: null").then_some(())).await;
    drop((ada, bob));
    nothing_is_left(&redis).await;
    new.terminate();
    new.ended().await;
    node.stop().await;
}

#[tokio::test]
async fn a_node_without_its_lease_gives_no_seats() {
    let redis = RedisServer::start().await;
    // Nothing renews the lease in this time.
    let node = redis.serve(Town::node(&redis.url(), Duration::from_secs(600))).await;
    let mut ada = Town::connect(node.address(), "ada").await;
    assert_eq!(ada.ask(sit(2)).await, "1: null");
    let mut directory = redis.directory().await;
    let () = directory.redis.hdel("{kengine}:lease", node.address().to_string()).await.unwrap();
    let mut bob = Town::connect(node.address(), "bob").await;
    assert_eq!(bob.ask(sit(2)).await, "1: error unavailable");
    assert_eq!(bob.ask(FILL).await, "1: error unavailable");
    drop((ada, bob));
    node.stop().await;
}

#[tokio::test]
async fn a_node_that_hung_for_longer_than_its_lease_takes_its_seats_again() {
    let redis = RedisServer::start().await;
    let hung = redis.spawn_node(env!("CARGO_BIN_EXE_node"), SHORT_LEASE).await;
    let node = redis.serve(Town::node(&redis.url(), SHORT_LEASE)).await;
    let mut ada = Town::connect(hung.address(), "ada").await;
    let mut bob = Town::connect(node.address(), "bob").await;
    let mut eve = Town::connect(node.address(), "eve").await;
    assert_eq!(ada.ask(sit(1)).await, "1: null");
    hung.freeze();
    until("the free seat", async || (bob.ask(sit(1)).await == "1: null").then_some(())).await;
    hung.thaw();
    let mut directory = redis.directory().await;
    until("both players", async || {
        let uids: Vec<String> = directory.redis.hkeys("{kengine}:seats:table").await.unwrap();
        (uids.len() == 2).then_some(())
    })
    .await;
    for player in [&mut ada, &mut bob] {
        assert_eq!(eve.ask(sit(1)).await, "1: error full");
        leave(player, "table").await;
    }
    until("the free seat", async || (eve.ask(sit(1)).await == "1: null").then_some(())).await;
    drop((ada, bob, eve));
    nothing_is_left(&redis).await;
    node.stop().await;
}

#[tokio::test]
async fn a_drained_node_leaves_no_seats() {
    let redis = RedisServer::start().await;
    let (one, other) =
        (redis.serve(Town::node(&redis.url(), LEASE)).await, redis.serve(Town::node(&redis.url(), LEASE)).await);
    let mut ada = Town::connect(one.address(), "ada").await;
    let mut bob = Town::connect(other.address(), "bob").await;
    let (room, _) = fill(&mut ada).await;
    assert_eq!(fill(&mut bob).await.0, room);
    // Reading on completes the close handshake.
    let read = async { [ada.next().await, ada.next().await] };
    let ((), [close, _]) = tokio::join!(one.stop(), read);
    assert_eq!(close, "close 4000");
    let mut eve = Town::connect(other.address(), "eve").await;
    assert_eq!(fill(&mut eve).await, (room, "null".to_owned()));
    drop((bob, eve));
    nothing_is_left(&redis).await;
    other.stop().await;
}

#[tokio::test]
async fn without_redis_seats_are_refused_unless_the_game_wants_those_of_the_node() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::start(redis.port()).await;
    let node = TestServer::start(Town::node(&proxy.url(), SHORT_LEASE)).await;
    let other = redis.serve(Town::node(&redis.url(), SHORT_LEASE)).await;
    redis.directory().await.count_is(node.address(), Some(0)).await;
    let mut players = Vec::new();
    for uid in ["ada", "bob", "cleo", "dan"] {
        players.push(Town::connect(node.address(), uid).await);
    }
    let [ada, bob, cleo, dan] = &mut players[..] else { unreachable!() };
    let anyway = r#"{"method":"sit_anyway","message":["table",2],"id":1}"#;
    assert_eq!(ada.ask(sit(2)).await, "1: null");
    proxy.set(Network::Refused);
    until("the outage", async || (bob.ask(sit(2)).await == "1: error unavailable").then_some(())).await;
    assert_eq!(ada.ask(anyway).await, "1: null", "she sits already");
    assert_eq!(bob.ask(FILL).await, "1: error unavailable");
    // In a room of two that only this node knows, and then in the next one.
    let fill_anyway = r#"{"method":"fill_anyway","message":["trio-",2],"id":1}"#;
    let mut rooms = Vec::new();
    for player in [&mut *ada, &mut *bob, &mut *cleo] {
        rooms.push(player.ask(fill_anyway).await);
        assert!(rooms[0].starts_with("1: \"trio-"), "{rooms:?}");
    }
    assert!(rooms[0] == rooms[1] && rooms[1] != rooms[2], "{rooms:?}");
    assert_eq!(cleo.ask(anyway).await, "1: null");
    assert_eq!(dan.ask(anyway).await, "1: error full");
    leave(ada, "table").await;
    assert_eq!(dan.ask(anyway).await, "1: null");
    // The seat is kept for a player who comes back to the same node.
    *cleo = Town::connect(node.address(), "cleo").await;
    assert_eq!(bob.ask(anyway).await, "1: error full");
    assert_eq!(cleo.ask(anyway).await, "1: null");
    proxy.set(Network::Good);
    // The directory learns who sits there now.
    let mut eve = Town::connect(other.address(), "eve").await;
    let mut directory = redis.directory().await;
    until("the seats", async || {
        let mut uids: Vec<String> = directory.redis.hkeys("{kengine}:seats:table").await.unwrap();
        uids.sort();
        (uids == ["cleo", "dan"]).then_some(())
    })
    .await;
    assert_eq!(eve.ask(sit(2)).await, "1: error full");
    // So it does if Redis has lost everything.
    redis::cmd("FLUSHALL").exec_async(&mut directory.redis).await.unwrap();
    until("the seats again", async || {
        let uids: Vec<String> = directory.redis.hkeys("{kengine}:seats:table").await.unwrap();
        (uids.len() == 2).then_some(())
    })
    .await;
    until("a refusal", async || (eve.ask(sit(2)).await == "1: error full").then_some(())).await;
    drop((players, eve));
    nothing_is_left(&redis).await;
    node.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_room_without_seats_costs_redis_nothing() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::start(redis.port()).await;
    let node = TestServer::start(Town::node(&proxy.url(), Duration::from_secs(600))).await;
    let mut directory = redis.directory().await;
    directory.count_is(node.address(), Some(0)).await;
    let mut players = Vec::new();
    for uid in ["ada", "bob", "cleo"] {
        players.push(Town::enter_lobby(node.address(), uid).await);
        directory.user_is(uid, Some(node.address().to_string())).await;
    }
    directory.count_is(node.address(), Some(3)).await;
    let (before, keys) = (proxy.commands(), directory.keys().await.len());
    for _ in 0..100 {
        let answer = players[0].ask(r#"{"method":"say","message":["lobby","hi"],"id":3}"#).await;
        assert_eq!(answer, "3: 2");
        let leave = r#"{"method":"leave","message":"lobby","id":1}"#;
        let answers = players[1].answers_before(leave, Town::FENCE).await;
        assert_eq!(answers, [Said::text("hi"), "1: true".to_owned()]);
        Town::join_lobby(&mut players[1]).await;
    }
    // The load may be reported once more, because the players have just come.
    let commands = proxy.commands() - before;
    assert!(commands < 5, "{commands} commands for 100 joins, leaves and sends each");
    assert_eq!(directory.keys().await.len(), keys);
    // A seat costs one script and a report, whatever else its player does.
    assert_eq!(players[0].ask(sit(4)).await, "1: null");
    assert!(proxy.commands() > before);
    drop(players);
    node.stop().await;
}

#[tokio::test]
async fn seats_hold_across_the_nodes_of_one_process_without_redis() {
    let cluster = Memory::new();
    let [one, other] = [(); 2].map(|()| testing::serve(Server::new(Town).cluster(&cluster)));
    let mut rooms = Vec::new();
    let mut players = Vec::new();
    for (number, node) in [&one, &other].into_iter().cycle().take(5).enumerate() {
        let mut player = node.connect(format!("/ws?uid={number}")).await.unwrap();
        let (room, host) = player.request::<(String, Option<String>)>("fill", &("duo-", 2)).await.unwrap();
        assert_eq!(host, None, "a node in a test has no address");
        let seated = player.request::<()>("sit", &("table", 3)).await;
        assert_eq!(seated.is_ok(), number < 3);
        rooms.push(room);
        players.push(player);
    }
    rooms.dedup();
    assert_eq!(rooms.len(), 3, "two rooms are full: {rooms:?}");
    players.remove(0);
    let mut last = one.connect("/ws?uid=last").await.unwrap();
    until("the seat of who has left", async || last.request::<()>("sit", &("table", 3)).await.ok()).await;
    drop(one);
    let mut new = other.connect("/ws?uid=new").await.unwrap();
    until("the seats of the node that has left", async || new.request::<()>("sit", &("table", 2)).await.ok()).await;
}
