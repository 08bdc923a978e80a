//! The list of the cluster's rooms: every room with seats or data, with what its members see.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use kengine::{
    Connection, Hub, Server,
    cluster::{Memory, Redis},
    room::{ListError, RoomPage, RoomSummary, SetPublicError},
};
use kengine_tests::{
    Dice, LIMIT, Network, NodeProcess, Proxy, RawClient, RedisServer, TestServer, Town, Workshop, heavy_test, until,
};
use serde_json::{Value, json};

const LEASE: Duration = Duration::from_secs(6);
const SHORT_LEASE: Duration = Duration::from_millis(900);

/// Returns every room with a prefix, in pages of this size.
async fn all(hub: &Hub, prefix: &str, size: usize) -> Result<Vec<RoomSummary>, ListError> {
    let (mut rooms, mut after) = (Vec::new(), String::new());
    loop {
        let page = hub.rooms(prefix).list().after(after).max(size).await?;
        assert!(page.rooms.len() <= size, "{} rooms on a page", page.rooms.len());
        rooms.extend(page.rooms);
        match page.next {
            Some(next) => after = next,
            None => return Ok(rooms),
        }
    }
}

fn names(rooms: &[RoomSummary]) -> Vec<&str> {
    rooms.iter().map(|room| &*room.name).collect()
}

/// Waits until a list is as expected, as JSON.
async fn list_is(hub: &Hub, prefix: &str, expected: Value) {
    let mut last = Value::Null;
    let listed = async {
        loop {
            last = serde_json::to_value(hub.rooms(prefix).list().await.unwrap()).unwrap();
            if last == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let is_right = tokio::time::timeout(LIMIT / 4, listed).await.is_ok();
    assert!(is_right, "{last} instead of {expected}");
}

async fn asks(player: &mut kengine_tests::Client, method: &str, message: &str) {
    let answer = player.ask(format!(r#"{{"method":"{method}","message":{message},"id":1}}"#)).await;
    assert!(!answer.contains("error"), "{method}: {answer}");
}

#[tokio::test]
async fn rooms_are_listed_with_what_their_members_see() {
    let redis = RedisServer::start().await;
    let node = || Town::node(&redis.url(), LEASE);
    let (one, other) = (redis.serve(node()).await, redis.serve(node()).await);
    let mut addresses = [&one, &other].map(|node| node.address().to_string());
    addresses.sort();
    let mut ada = Town::connect(one.address(), "ada").await;
    let mut bob = Town::connect(other.address(), "bob").await;
    let mut eve = Town::connect(other.address(), "eve").await;
    // Bob is there before anybody knows that the room is listed, and Eve comes after.
    asks(&mut bob, "join", r#""t {able}""#).await;
    assert_eq!(other.hub().rooms("").list().await.unwrap().rooms, [], "a room without seats and data");
    asks(&mut ada, "sit", r#"["t {able}",4]"#).await;
    asks(&mut eve, "join", r#""t {able}""#).await;
    let room = json!({"name": "t {able}", "members": 3, "seats": 4, "taken": 1, "nodes": addresses});
    for hub in [one.hub(), other.hub()] {
        list_is(hub, "t {", json!({"rooms": [room]})).await;
    }
    let outsider = Hub::connect(Redis::new(redis.url())).await.unwrap();
    list_is(&outsider, "", json!({"rooms": [room]})).await;
    list_is(one.hub(), "u", json!({"rooms": []})).await;

    // The last value counts, whichever node sets it, as long as the room has members.
    one.hub().room("t {able}").set_public(&json!({"stake": 5})).unwrap();
    list_is(one.hub(), "", json!({"rooms": [merged(&room, &json!({"public": {"stake": 5}}))]})).await;
    other.hub().room("t {able}").set_public(&json!({"stake": 10})).unwrap();
    asks(&mut ada, "leave", r#""t {able}""#).await;
    let left = json!({"members": 2, "taken": 0, "nodes": [other.address().to_string()], "public": {"stake": 10}});
    list_is(one.hub(), "t", json!({"rooms": [merged(&room, &left)]})).await;
    drop((bob, eve));
    list_is(one.hub(), "", json!({"rooms": []})).await;

    let nowhere = one.hub().room("nowhere").set_public(&1);
    assert!(matches!(nowhere, Err(SetPublicError::NoMembers)), "{nowhere:?}");
    asks(&mut ada, "join", r#""lobby""#).await;
    let large = one.hub().room("lobby").set_public(&"x".repeat(1023));
    assert!(matches!(large, Err(SetPublicError::TooLarge(1025))), "{large:?}");
    one.hub().room("lobby").set_public(&"x".repeat(1022)).unwrap();
    drop(ada);
    one.stop().await;
    other.stop().await;
    let lost = until("the outage", async || outsider_is_lost(&redis, &outsider).await).await;
    assert_eq!(kengine::Error::from(lost).code(), "unavailable");
}

fn merged(room: &Value, change: &Value) -> Value {
    let mut room = room.clone();
    room.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    room
}

async fn outsider_is_lost(redis: &RedisServer, outsider: &Hub) -> Option<ListError> {
    redis.freeze();
    let lost = outsider.rooms("").list().await.err();
    redis.thaw();
    lost
}

#[tokio::test]
async fn the_rooms_of_a_killed_node_are_listed_no_longer_than_its_lease() {
    let redis = RedisServer::start().await;
    let mut killed: NodeProcess = redis.spawn_node(env!("CARGO_BIN_EXE_node"), SHORT_LEASE).await;
    let node = redis.serve(Town::node(&redis.url(), SHORT_LEASE)).await;
    let mut ada = Town::connect(killed.address(), "ada").await;
    let mut bob = Town::connect(node.address(), "bob").await;
    asks(&mut ada, "sit", r#"["both",4]"#).await;
    asks(&mut bob, "sit", r#"["both",4]"#).await;
    asks(&mut ada, "sit", r#"["hers",4]"#).await;
    until("all rooms", async || {
        let rooms = node.hub().rooms("").list().await.unwrap().rooms;
        (rooms.iter().map(|room| room.members).collect::<Vec<_>>() == [2, 1]).then_some(())
    })
    .await;
    let address = killed.address();
    killed.kill();
    redis.directory().await.lives(address, false).await;
    let rooms = node.hub().rooms("").list().await.unwrap().rooms;
    assert_eq!(names(&rooms), ["both"]);
    assert_eq!((rooms[0].members, rooms[0].taken), (1, 1));
    drop((ada, bob));
    node.stop().await;
}

#[tokio::test]
async fn data_survives_an_empty_redis() {
    let redis = RedisServer::start().await;
    let node = redis.serve(Town::node(&redis.url(), SHORT_LEASE)).await;
    let ada = Town::enter_lobby(node.address(), "ada").await;
    node.hub().room("lobby").set_public(&"map 7").unwrap();
    let expected = json!({"rooms": [{"name": "lobby", "members": 1, "taken": 0, "public": "map 7",
        "nodes": [node.address().to_string()]}]});
    list_is(node.hub(), "", expected.clone()).await;
    redis::cmd("FLUSHALL").exec_async(&mut redis.connection().await).await.unwrap();
    list_is(node.hub(), "", expected).await;
    drop(ada);
    node.stop().await;
}

#[tokio::test]
async fn data_waits_while_redis_is_away() {
    let redis = RedisServer::start().await;
    let proxy = Proxy::start(redis.port()).await;
    let node = TestServer::start(Town::node(&proxy.url(), LEASE)).await;
    let other = redis.serve(Town::node(&redis.url(), LEASE)).await;
    redis.directory().await.count_is(node.address(), Some(0)).await;
    let ada = Town::enter_lobby(node.address(), "ada").await;
    node.hub().room("lobby").set_public(&1).unwrap();
    proxy.set(Network::Refused);
    until("the outage", async || node.hub().rooms("").list().await.is_err().then_some(())).await;
    for stake in 2..5 {
        node.hub().room("lobby").set_public(&stake).unwrap();
    }
    proxy.set(Network::Good);
    let room = json!({"name": "lobby", "members": 1, "taken": 0, "public": 4, "nodes": [node.address().to_string()]});
    list_is(other.hub(), "", json!({"rooms": [room]})).await;
    drop(ada);
    node.stop().await;
    other.stop().await;
}

/// Connects this many clients. Returns them and the server's handles of their connections.
async fn guests(server: &TestServer, workshop: &Workshop, count: usize) -> (Vec<RawClient>, Vec<Connection>) {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(RawClient::connect(server.address()).await);
    }
    until("all guests", async || (workshop.guests().len() == count).then_some(())).await;
    (clients, workshop.guests())
}

/// Lets players sit down in pairs, in rooms that show their numbers.
async fn fill_pairs(hub: &Hub, players: &[Connection]) {
    for (number, player) in players.iter().enumerate() {
        let room = hub.room(format!("t{}", number / 2));
        room.join(player).seats(2).await.unwrap();
        room.set_public(&(number / 2)).unwrap();
    }
}

#[tokio::test]
async fn a_page_has_filters_and_a_cursor() {
    let redis = RedisServer::start().await;
    let cluster = Memory::new();
    for number in 0..3 {
        let workshop = Workshop::default();
        let server = Server::new(workshop.clone());
        let server = match number {
            0 => TestServer::start(server).await,
            1 => TestServer::start(server.cluster(&cluster)).await,
            _ => redis.serve(server.cluster(Redis::new(redis.url()))).await,
        };
        let (_clients, guests) = guests(&server, &workshop, 25).await;
        let hub = server.hub().clone();
        fill_pairs(&hub, &guests).await;
        until("all rooms", async || {
            let rooms = all(&hub, "", 4).await.unwrap();
            let has_data = rooms.iter().all(|room| room.public::<usize>().is_ok());
            let members = rooms.iter().map(|room| room.members).sum::<usize>();
            (rooms.len() == 13 && members == 25 && has_data).then_some(())
        })
        .await;
        let rooms = all(&hub, "t", 100).await.unwrap();
        assert!(names(&rooms).is_sorted());
        assert_eq!(names(&all(&hub, "t1", 1).await.unwrap()), ["t1", "t10", "t11", "t12"]);
        let free = hub.rooms("").list().with_free_seats().await.unwrap();
        assert_eq!((names(&free.rooms), free.next), (vec!["t12"], None));
        let odd = |room: &RoomSummary| room.public::<usize>().unwrap() % 2 == 1;
        let page: RoomPage = hub.rooms("t").list().max(2).filter(odd).await.unwrap();
        assert_eq!(names(&page.rooms), ["t1", "t11"]);
        let next = hub.rooms("t").list().after(page.next.unwrap()).filter(odd).await.unwrap();
        assert_eq!(names(&next.rooms), ["t3", "t5", "t7", "t9"]);
        let none = hub.rooms("t").list().max(1).filter(|_| false).await.unwrap();
        assert_eq!((none.rooms, none.next.as_deref()), (vec![], Some("t4")), "not the eighth room");
        let clamped = hub.rooms("t").list().max(0).await.unwrap();
        assert_eq!(names(&clamped.rooms), ["t0"]);
        assert_eq!(hub.rooms("t").list().max(usize::MAX).await.unwrap().rooms.len(), 13);
        assert_eq!(hub.rooms("t").list().after("a").max(1).await.unwrap().rooms[0].name, "t0");
        assert_eq!(hub.rooms("t").list().after("z").await.unwrap().rooms, []);
    }
}

/// Rooms come and go between those that stay, while pages with filters are turned.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_and_cursors_hold_while_rooms_come_and_go() {
    const ROOMS: usize = 60;
    let redis = RedisServer::start().await;
    let workshops = [Workshop::default(), Workshop::default()];
    let (mut nodes, mut clients, mut players) = (Vec::new(), Vec::new(), Vec::new());
    for workshop in &workshops {
        let server = Server::new(workshop.clone()).cluster(Redis::new(redis.url())).max_rooms_per_connection(ROOMS + 2);
        let server = redis.serve(server.max_joins_per_second(u32::MAX, u32::MAX)).await;
        let (some, guests) = guests(&server, workshop, 4).await;
        clients.push(some);
        players.push(guests);
        nodes.push(server);
    }
    // Each room has two seats. Both are taken in every third room.
    for number in 0..ROOMS {
        let room = nodes[0].hub().room(format!("{{t}} {number:02}"));
        room.join(&players[0][0]).seats(2).await.unwrap();
        room.set_public(&number).unwrap();
        if number % 3 == 0 {
            nodes[1].hub().room(room.name()).join(&players[1][0]).seats(2).await.unwrap();
        }
    }
    let expected: Vec<_> = (0..ROOMS).filter(|number| number % 3 != 0 && number % 2 == 0).collect();
    let stop = Arc::<AtomicBool>::default();
    let mut moving = Vec::new();
    for (node, server) in nodes.iter().enumerate() {
        for (mover, guest) in players[node][1..].iter().cloned().enumerate() {
            let (hub, stop) = (server.hub().clone(), Arc::clone(&stop));
            moving.push(tokio::spawn(async move {
                let mut dice = Dice::new(u64::try_from(node * 10 + mover).unwrap());
                while !stop.load(Ordering::Relaxed) {
                    // Before, between and after the rooms that stay, with and without a seat that is free.
                    let number = dice.roll(ROOMS);
                    let room = hub.room(format!("{{t}} {number:02}+{node}{mover}"));
                    room.join(&guest).seats(1 + dice.roll(2)).await.expect("a seat");
                    room.set_public(&(1000 + 2 * number)).unwrap();
                    tokio::time::sleep(Duration::from_millis(u64::try_from(dice.roll(5)).unwrap())).await;
                    room.leave(&guest);
                }
            }));
        }
    }
    let is_wanted = |room: &RoomSummary| room.public::<usize>().is_ok_and(|number| number % 2 == 0);
    let list = async |hub: &Hub, size| {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let page =
                hub.rooms("{t} ").list().after(after).max(size).with_free_seats().filter(is_wanted).await.unwrap();
            assert!(page.rooms.len() <= size);
            assert!(page.rooms.iter().all(|room| room.has_free_seat() && is_wanted(room)), "{page:?}");
            seen.extend(page.rooms.iter().map(|room| room.public::<usize>().unwrap()).filter(|number| *number < ROOMS));
            match page.next {
                Some(next) => after = next,
                None => return seen,
            }
        }
    };
    until("the rooms that stay", async || (list(nodes[0].hub(), 500).await == expected).then_some(())).await;
    for size in [1, 2, 3, 7, 20, 100].repeat(3) {
        for node in &nodes {
            assert_eq!(list(node.hub(), size).await, expected, "pages of {size}");
        }
    }
    stop.store(true, Ordering::Relaxed);
    for moving in moving {
        moving.await.expect("no panic");
    }
    drop(clients);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_rooms_are_listed_in_pages_while_they_come_and_go() {
    const NODES: usize = 3;
    /// The players who move, on each node; the others stay.
    const MOVERS: usize = 20;
    const TURNS: usize = 60;
    let _turn = heavy_test().await;
    // 10,000 with `KENGINE_SEATS_SECONDS`, as in `.ci/long`.
    let rooms = if std::env::var_os("KENGINE_SEATS_SECONDS").is_some() { 10_000 } else { 2_000 };
    let redis = RedisServer::start().await;
    let (mut nodes, mut clients, mut players) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..NODES {
        let workshop = Workshop::default();
        let server = Server::new(workshop.clone()).cluster(Redis::new(redis.url()));
        let server = redis.serve(server.max_rooms_per_connection(rooms)).await;
        let (some, guests) = guests(&server, &workshop, 1 + MOVERS).await;
        clients.push(some);
        players.push(guests);
        nodes.push(server);
    }
    let joining = nodes.iter().enumerate().map(|(node, server)| {
        let (hub, guest) = (server.hub().clone(), players[node][0].clone());
        tokio::spawn(async move {
            for number in (node..rooms).step_by(NODES) {
                let room = hub.room(format!("room {number:05}"));
                room.join(&guest).await.unwrap();
                room.set_public(&number).unwrap();
            }
        })
    });
    for joining in joining.collect::<Vec<_>>() {
        joining.await.expect("no panic");
    }
    let hub = nodes[0].hub().clone();
    until("all rooms", async || (all(&hub, "room ", 500).await.unwrap().len() == rooms).then_some(())).await;

    let mut moving = Vec::new();
    for (node, server) in nodes.iter().enumerate() {
        for (number, guest) in players[node][1..].iter().cloned().enumerate() {
            let hub = server.hub().clone();
            moving.push(tokio::spawn(async move {
                let mut dice = Dice::new(u64::try_from(node * MOVERS + number).unwrap());
                for turn in 0..TURNS {
                    let room = hub.rooms("match-").fill(9, &guest).await.expect("a seat");
                    room.set_public(&turn).unwrap();
                    tokio::time::sleep(Duration::from_millis(u64::try_from(dice.roll(10)).unwrap())).await;
                    if turn + 1 < TURNS {
                        room.leave(&guest);
                    }
                }
            }));
        }
    }
    // Meanwhile the rooms that stay are in each list, once and in order.
    let (mut times, mut lists) = (Vec::new(), 0);
    while lists < 3 || !moving.iter().all(tokio::task::JoinHandle::is_finished) {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let begun = Instant::now();
            let page = hub.rooms("").list().after(after).await.unwrap();
            times.push(begun.elapsed());
            assert!(page.rooms.iter().all(|room| room.taken <= 9), "{:?}", page.rooms);
            seen.extend(page.rooms.into_iter().filter(|room| room.name.starts_with("room ")));
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        assert_eq!(seen.len(), rooms);
        for (number, room) in seen.iter().enumerate() {
            assert_eq!((&*room.name, room.members), (&*format!("room {number:05}"), 1));
            assert_eq!(room.nodes, [nodes[number % NODES].address().to_string()]);
            assert_eq!(room.public::<usize>().unwrap(), number);
        }
        lists += 1;
    }
    for moving in moving {
        moving.await.expect("no panic");
    }
    // At the end the list is what the members see.
    let mut expected = BTreeMap::new();
    for name in nodes.iter().flat_map(|node| node.hub().rooms("match-").local_list()) {
        *expected.entry(name.name).or_insert(0) += name.members;
    }
    assert_eq!(expected.values().sum::<usize>(), NODES * MOVERS);
    until("what the members see", async || {
        let listed = all(&hub, "match-", 100).await.unwrap();
        let listed: BTreeMap<_, _> = listed.into_iter().map(|room| (room.name, room.members)).collect();
        (listed == expected).then_some(())
    })
    .await;
    // What Redis does for a page, without the machine's other work.
    let mut directory = redis.directory().await;
    redis::cmd("CONFIG").arg("RESETSTAT").exec_async(&mut directory.redis).await.unwrap();
    let begun = Instant::now();
    let pages = all(&hub, "room ", 100).await.unwrap().len() / 100;
    let each = begun.elapsed() / u32::try_from(pages).unwrap();
    let stats = redis.info("commandstats").await;
    let stats = stats.lines().find(|line| line.starts_with("cmdstat_evalsha")).unwrap_or_default();
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    println!("a page of 100 of {rooms} rooms: {each:?}; under load p50 {:?}, p99 {:?}; {stats}", at(50), at(99));
    drop(clients);
    for node in nodes {
        node.stop().await;
    }
}
