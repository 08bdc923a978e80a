//! Seats with unusual numbers and names, and seats that are waited for while something fails.

use std::{collections::BTreeSet, time::Duration};

use kengine::{
    Server,
    cluster::{Memory, Redis},
    room::{JoinError, RoomSummary},
};
use kengine_tests::{Client, RawClient, RedisServer, TestServer, Town, Workshop, until, without_rates};
use redis::AsyncCommands;

const LEASE: Duration = Duration::from_secs(6);
const SHORT_LEASE: Duration = Duration::from_millis(900);

/// A node alone, one of a cluster in memory, and one of a cluster in Redis, with guests on each.
async fn nodes(redis: &RedisServer, guests: usize) -> Vec<(TestServer, Workshop, Vec<RawClient>)> {
    let cluster = Memory::new();
    let mut nodes = Vec::new();
    for number in 0..3 {
        let workshop = Workshop::default();
        let server = Server::new(workshop.clone()).max_joins_per_second(u32::MAX, u32::MAX);
        let server = match number {
            0 => TestServer::start(server).await,
            1 => TestServer::start(server.cluster(&cluster)).await,
            _ => redis.serve(server.cluster(Redis::new(redis.url()).lease(LEASE))).await,
        };
        let mut clients = Vec::new();
        for _ in 0..guests {
            clients.push(RawClient::connect(server.address()).await);
        }
        until("all guests", async || (workshop.guests().len() == guests).then_some(())).await;
        nodes.push((server, workshop, clients));
    }
    nodes
}

#[tokio::test]
async fn a_room_has_any_number_of_seats() {
    let redis = RedisServer::start().await;
    for (server, workshop, _clients) in nodes(&redis, 3).await {
        let (hub, guests) = (server.hub(), workshop.guests());
        let none = hub.room("none");
        none.join(&guests[0]).seats(0).await.unwrap();
        let refused = none.join(&guests[1]).seats(0).await;
        assert!(matches!(refused, Err(JoinError::Full(1))), "{refused:?}");
        let first = hub.rooms("solo-").fill(0, &guests[0]).await.unwrap().name().to_owned();
        assert_ne!(hub.rooms("solo-").fill(0, &guests[1]).await.unwrap().name(), first);

        let mut filled = Vec::new();
        for guest in &guests {
            hub.room("vast").join(guest).seats(usize::MAX).await.unwrap();
            filled.push(hub.rooms("wide-").fill(usize::MAX, guest).await.unwrap().name().to_owned());
        }
        filled.dedup();
        assert_eq!(filled.len(), 1, "{filled:?}");
        for prefix in ["vast", "wide-"] {
            let listed = until("the rooms", async || {
                let rooms = hub.rooms(prefix).list().with_free_seats().await.expect("a list").rooms;
                rooms.first().filter(|room| room.members == 3).cloned()
            })
            .await;
            assert_eq!((listed.seats, listed.taken), (Some(usize::MAX), 3));
        }
    }
}

#[tokio::test]
async fn a_room_with_seats_has_any_name() {
    let redis = RedisServer::start().await;
    for (server, workshop, _clients) in nodes(&redis, 2).await {
        let (hub, guests) = (server.hub(), workshop.guests());
        let names = ["{", "}", "{}", "{a} b", " ", "%7B", "a|b#1~", "*?[x]", "\u{e4}\u{1f3ae}", "room:x", "\\"];
        for name in names {
            let room = hub.room(name);
            room.join(&guests[0]).seats(1).await.unwrap();
            let refused = room.join(&guests[1]).seats(1).await;
            assert!(matches!(refused, Err(JoinError::Full(1))), "{name}: {refused:?}");
            room.set_public(&name).unwrap();

            let rooms = hub.rooms(name);
            let filled = rooms.fill(2, &guests[0]).await.unwrap().name().to_owned();
            assert!(filled.starts_with(name) && filled != name, "{filled}");
            assert_eq!(hub.rooms(name).fill(2, &guests[1]).await.unwrap().name(), filled);
            let is_listed =
                |room: &RoomSummary| room.name == name && room.public::<String>().is_ok_and(|it| it == name);
            until(name, async || {
                let page = hub.rooms(name).list().max(1).await.expect("a list");
                let next = hub.rooms(name).list().after(page.next?).await.expect("a list");
                let others: Vec<_> = next.rooms.iter().map(|room| &*room.name).collect();
                (page.rooms.iter().all(is_listed) && others == [&*filled]).then_some(())
            })
            .await;
            assert!(room.leave(&guests[0]));
            room.join(&guests[1]).seats(1).await.unwrap();
            for guest in &guests {
                room.leave(guest);
                hub.room(&*filled).leave(guest);
            }
            until("the end of both rooms", async || {
                hub.rooms(name).list().await.expect("a list").rooms.is_empty().then_some(())
            })
            .await;
        }
    }
    let mut left: Vec<String> = redis.connection().await.keys("{kengine}:*:*").await.unwrap();
    left.retain(|key| !key.starts_with("{kengine}:node:"));
    assert_eq!(left, [""; 0]);
}

#[tokio::test]
async fn no_room_is_filled_that_a_client_has_guessed() {
    let redis = RedisServer::start().await;
    let cluster = Memory::new();
    let alone = || TestServer::start(without_rates(Town));
    let in_memory = || TestServer::start(without_rates(Town).cluster(&cluster));
    let in_redis = || redis.serve(Town::node(&redis.url(), LEASE));
    let clusters =
        [vec![alone().await], vec![in_memory().await, in_memory().await], vec![in_redis().await, in_redis().await]];
    for nodes in clusters {
        let (node, other) = (nodes[0].address(), nodes[nodes.len() - 1].address());
        let fill = async |uid| {
            let mut player = Town::connect(node, uid).await;
            let answer = player.ask(r#"{"method":"fill","message":["solo-",1],"id":1}"#).await;
            (answer.split('"').nth(1).unwrap_or(&answer).to_owned(), player)
        };
        let (first, _ada) = fill("ada").await;
        let (stem, number) = first.rsplit_once('-').expect("a number at the end");
        let number: u64 = number.parse().expect("a number at the end");
        // Eve and Fay guess the names of the next rooms. Eve's seat is kept, so nobody is in hers.
        let mut guesses = Vec::new();
        for (uid, next) in [("eve", number + 1), ("fay", number + 2)] {
            let mut player = Town::connect(other, uid).await;
            let sit = format!(r#"{{"method":"sit","message":["{stem}-{next}",1],"id":1}}"#);
            assert_eq!(player.ask(sit).await, "1: null");
            guesses.push(player);
        }
        let _eve = Town::connect(other, "eve").await;
        assert_eq!(guesses[0].next().await, "close 4500");
        let mut rooms = vec![first.clone(), format!("{stem}-{}", number + 1), format!("{stem}-{}", number + 2)];
        let (second, _bob) = fill("bob").await;
        let (third, _cleo) = fill("cleo").await;
        rooms.extend([second, third]);
        assert!(rooms.iter().all(|room| room.starts_with("solo-")), "{rooms:?}");
        let different = rooms.iter().collect::<BTreeSet<_>>().len();
        assert_eq!(different, rooms.len(), "{} nodes: {rooms:?}", nodes.len());
    }
}

fn fill(number: u32) -> String {
    format!(r#"{{"method":"fill","message":["duo-",2],"id":{number}}}"#)
}

/// Takes a seat as soon as the directory gives some.
async fn seat(player: &mut Client) -> String {
    until("a seat", async || {
        let answer = player.ask(fill(1)).await;
        (answer != "1: error unavailable").then_some(answer)
    })
    .await
}

/// Waits until nobody has a seat.
async fn all_seats_are_free(redis: &RedisServer) {
    let mut directory = redis.connection().await;
    until("the end of all rooms", async || {
        let left: usize = directory.zcard("{kengine}:rooms").await.unwrap();
        (left == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn seats_that_are_waited_for_are_free_if_their_node_drains_or_is_killed() {
    let redis = RedisServer::start().await;
    let node = redis.serve(Town::node(&redis.url(), SHORT_LEASE)).await;
    for is_killed in [false, true] {
        let mut leaving = redis.spawn_node(env!("CARGO_BIN_EXE_node"), SHORT_LEASE).await;
        let mut waiting = Vec::new();
        for uid in ["ada", "bob", "cleo"] {
            waiting.push(Town::connect(leaving.address(), uid).await);
        }
        redis.freeze();
        for player in &mut waiting {
            player.send(fill(1)).await;
        }
        if is_killed {
            // What is sent to Redis is done when it goes on.
            tokio::time::sleep(Duration::from_millis(100)).await;
            leaving.kill();
            redis.thaw();
        } else {
            leaving.terminate();
            leaving.ended().await;
            redis.thaw();
        }
        let mut eve = Town::connect(node.address(), "eve").await;
        let answer = seat(&mut eve).await;
        assert!(answer.starts_with("1: [\"duo-"), "{answer}");
        drop((eve, waiting));
        all_seats_are_free(&redis).await;
    }
    node.stop().await;
}

#[tokio::test]
async fn a_seat_that_is_waited_for_is_free_if_its_player_goes() {
    let redis = RedisServer::start().await;
    let node = redis.serve(Town::node(&redis.url(), LEASE)).await;
    let other = redis.serve(Town::node(&redis.url(), LEASE)).await;
    let mut ada = Town::connect(node.address(), "ada").await;
    let mut bob = Town::connect(node.address(), "bob").await;
    redis.freeze();
    for player in [&mut ada, &mut bob] {
        player.send(fill(1)).await;
    }
    // Bob goes, and Ada comes back twice, while her first client hangs and still waits for its seat.
    drop(bob);
    let mut again = Town::connect(node.address(), "ada").await;
    again.send(fill(1)).await;
    let mut elsewhere = Town::connect(other.address(), "ada").await;
    elsewhere.send(fill(1)).await;
    redis.thaw();
    // While Redis does not answer, the nodes do not know for certain which of her connections is the newest. A later
    // one is.
    let (room, last) = until("a seat", async || {
        let mut last = Town::connect(other.address(), "ada").await;
        let answer = last.ask(fill(2)).await;
        Some((answer.split('"').nth(1)?.to_owned(), last))
    })
    .await;
    let mut directory = redis.connection().await;
    until("one seat", async || {
        let rooms: Vec<String> = directory.zrange("{kengine}:rooms", 0, -1).await.unwrap();
        let players: Vec<String> = directory.hkeys(format!("{{kengine}}:seats:{room}")).await.unwrap();
        (rooms == [&*room] && players == ["ada"]).then_some(())
    })
    .await;
    drop((ada, again, elsewhere, last));
    all_seats_are_free(&redis).await;
    node.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_room_is_filled_as_before_if_redis_has_lost_its_data() {
    let redis = RedisServer::start().await;
    let node = redis.serve(Town::node(&redis.url(), SHORT_LEASE)).await;
    let mut ada = Town::connect(node.address(), "ada").await;
    let first = seat(&mut ada).await;
    for uid in ["bob", "cleo", "dan"] {
        redis::cmd("FLUSHALL").exec_async(&mut redis.connection().await).await.unwrap();
        let mut player = Town::connect(node.address(), uid).await;
        assert_eq!(seat(&mut player).await, first, "{uid} got a new room, although Ada's has a free seat");
        let mut third = Town::connect(node.address(), "third").await;
        assert_ne!(third.ask(fill(1)).await, first, "a third player of two seats");
        drop((player, third));
        until("Ada alone", async || (node.hub().connections() == 1).then_some(())).await;
    }
    drop(ada);
    all_seats_are_free(&redis).await;
    node.stop().await;
}
