//! Tests the arenas in memory under a paused clock, and the program over sockets.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use kengine::{
    CloseCode, Server, Uid,
    cluster::Memory,
    room::{GameLoop, Left, Member},
    testing::{self, Client, Served},
};
use kengine_examples::Program;
use serde::Deserialize;
use tokio::{
    task::JoinSet,
    time::{Instant, advance, sleep, timeout},
};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, protocol::frame::coding},
};

use crate::{
    arena::{AWAY, Arena, FIELD, Heading, Position, SPEED},
    game::{Game, SEATS},
};

mod arena;
mod game;

const TICK: Duration = Arena::TICK;

/// How long a test waits for each event before it fails. With a paused clock this takes no time.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The answer to `play`.
#[derive(Deserialize)]
struct Seated {
    arena: String,
    you: Uid,
    players: Vec<Member>,
}

fn serve() -> Served<Game> {
    testing::serve(Game)
}

/// Returns two nodes of a cluster.
fn two_nodes() -> [Served<Game>; 2] {
    let cluster = Memory::new();
    [(); 2].map(|()| testing::serve(Server::new(Game).cluster(&cluster)))
}

async fn play(client: &mut Client) -> Seated {
    client.request("play", &()).await.unwrap()
}

/// Connects a player and seats them.
async fn player(game: &Served<Game>, uid: &str) -> Client {
    let mut client = game.connect(format!("/ws?uid={uid}")).await.unwrap();
    assert_eq!(play(&mut client).await.you.as_str(), uid);
    client
}

/// Returns the positions that have arrived, after waiting for this long.
async fn positions(client: &mut Client, time: Duration) -> Vec<Position> {
    client.stay(time).await;
    let mut positions = Vec::new();
    while let Ok(position) = timeout(Duration::ZERO, client.push::<Position>()).await {
        positions.push(position);
    }
    positions
}

fn players(positions: &[Position]) -> BTreeSet<&str> {
    positions.iter().map(|position| position.player.as_str()).collect()
}

/// Waits until every arena has ended.
async fn arenas_end(game: &Served<Game>) {
    let ended = async {
        while game.hub().game_loops() > 0 {
            sleep(TICK).await;
        }
    };
    timeout(TEST_TIMEOUT, ended).await.expect("the arenas end");
}

#[tokio::test(start_paused = true)]
async fn ten_players_fill_two_arenas() {
    let game = serve();
    let mut arenas = BTreeMap::<_, BTreeSet<_>>::new();
    let mut clients = Vec::new();
    for number in 0..10 {
        let uid = format!("player-{number}");
        let mut client = game.connect(format!("/ws?uid={uid}")).await.unwrap();
        let seated = play(&mut client).await;
        let inside = arenas.entry(seated.arena.clone()).or_default();
        inside.insert(uid);
        let listed: Vec<_> = seated.players.iter().map(|member| member.uid.as_str()).collect();
        assert_eq!(listed, inside.iter().collect::<Vec<_>>(), "the answer lists all members");
        clients.push((seated.arena, client));
    }
    assert_eq!(arenas.values().map(BTreeSet::len).collect::<Vec<_>>(), [9, 1]);
    assert_eq!(game.hub().game_loops(), 2);
    for (arena, client) in &mut clients {
        let seen = positions(client, TICK * 3 / 2).await;
        assert!(players(&seen).into_iter().eq(&arenas[arena]), "each player sees the ships of their own arena");
    }
}

#[tokio::test(start_paused = true)]
async fn an_arena_ticks_twenty_times_a_second() {
    let game = serve();
    let mut ada = player(&game, "ada").await;
    let begun = Instant::now();
    for step in 1..=100 {
        assert_eq!(ada.push::<Position>().await.step, step);
        assert_eq!(begun.elapsed(), TICK * u32::try_from(step).unwrap());
    }
    assert_eq!(TICK * 20, Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn late_tick_simulates_the_missed_steps() {
    let game = serve();
    let mut ada = player(&game, "ada").await;
    assert_eq!(ada.push::<Position>().await.step, 1);
    advance(TICK * 7 / 2).await;
    let late = Instant::now();
    assert_eq!(ada.push::<Position>().await.step, 4);
    assert_eq!(ada.push::<Position>().await.step, 5);
    assert_eq!(late.elapsed(), TICK / 2, "the next tick comes as if no tick had been missed");
    // Steps beyond the maximum of one tick are skipped, and the game continues at its own rate.
    advance(TICK * 20).await;
    assert_eq!(ada.push::<Position>().await.step, 10);
    let late = Instant::now();
    assert_eq!(ada.push::<Position>().await.step, 11);
    assert_eq!(late.elapsed(), TICK);
}

#[tokio::test(start_paused = true)]
async fn all_players_see_a_steered_ship_move() {
    let game = serve();
    let mut ada = player(&game, "ada").await;
    let mut bob = player(&game, "bob").await;
    let second = Duration::from_secs(1);
    let last_of_ada = |seen: Vec<Position>| {
        let last = seen.into_iter().rfind(|position| position.player.as_str() == "ada").unwrap();
        (last.x, last.y)
    };
    let close = |(x, y): (f32, f32), to: (f32, f32)| (x - to.0).abs() < 0.01 && (y - to.1).abs() < 0.01;
    let middle = FIELD / 2.0;
    let rows = [
        // A heading, and the position after a second.
        ((0.0, 0.0), (middle, middle)),
        ((1.0, 0.0), (middle + SPEED, middle)),
        ((-0.5, 0.0), (middle + SPEED / 2.0, middle)),
        ((-300.0, 400.0), (middle + SPEED / 2.0 - 0.6 * SPEED, middle + 0.8 * SPEED)),
        // An infinite heading stops the ship.
        ((1e39, 0.0), (middle + SPEED / 2.0 - 0.6 * SPEED, middle + 0.8 * SPEED)),
    ];
    bob.stay(TICK / 2).await;
    for ((x, y), expected) in rows {
        let heading = serde_json::json!({ "x": x, "y": y });
        ada.request::<()>("steer", &heading).await.unwrap();
        let seen = last_of_ada(positions(&mut bob, second).await);
        assert!(close(seen, expected), "heading {x}, {y} led to {seen:?}, not to {expected:?}");
        assert_eq!(last_of_ada(positions(&mut ada, Duration::ZERO).await), seen);
    }
    ada.request::<()>("steer", &Heading { x: -1.0, y: 1.0 }).await.unwrap();
    assert_eq!(last_of_ada(positions(&mut bob, 10 * second).await), (0.0, FIELD), "walls stop the ship");
}

#[tokio::test(start_paused = true)]
async fn slow_client_receives_the_newest_position_of_each_player() {
    let minute = Duration::from_secs(60);
    let game = testing::serve(Server::new(Game).idle_timeout(minute * 60));
    let mut ada = player(&game, "ada").await;
    let begun = Instant::now();
    let _others = [player(&game, "bob").await, player(&game, "cy").await];
    let mut steps = BTreeMap::<_, Vec<_>>::new();
    for round in 1..=3 {
        sleep(minute * 3 + TICK / 2).await;
        for position in positions(&mut ada, TICK / 4).await {
            steps.entry(position.player.to_string()).or_default().push(position.step);
        }
        let newest = begun.elapsed().as_millis() / TICK.as_millis();
        assert_eq!(steps.len(), 3);
        for (player, steps) in &steps {
            assert_eq!(u128::from(*steps.last().unwrap()), newest, "{player}");
            assert!(steps.is_sorted_by(|one, next| one < next), "the positions of {player} are in order");
            // First the positions that were already on their way, then the newest.
            let gaps = steps.windows(2).filter(|two| two[1] > two[0] + 1).count();
            assert_eq!(gaps, round, "only the newest position of {player} has waited");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn players_who_leave_or_disconnect_are_not_shown() {
    let game = serve();
    let mut ada = player(&game, "ada").await;
    let mut bob = player(&game, "bob").await;
    let cy = player(&game, "cy").await;
    let seen = positions(&mut ada, TICK * 3 / 2).await;
    assert_eq!(players(&seen), BTreeSet::from(["ada", "bob", "cy"]));

    bob.request::<()>("leave", &()).await.unwrap();
    assert_eq!(ada.push::<Left>().await.member.uid.as_str(), "bob");
    let seen = positions(&mut ada, TICK * 20).await;
    assert_eq!(players(&seen), BTreeSet::from(["ada", "cy"]));
    assert_eq!(bob.request::<()>("steer", &Heading { x: 1.0, y: 0.0 }).await.unwrap_err().code, "not_playing");

    drop(cy);
    assert_eq!(ada.push::<Left>().await.member.uid.as_str(), "cy");
    let seen = positions(&mut ada, TICK * 20).await;
    assert_eq!(players(&seen), BTreeSet::from(["ada"]));

    play(&mut bob).await;
    let seen = positions(&mut ada, TICK * 20).await;
    assert_eq!(players(&seen), BTreeSet::from(["ada", "bob"]));
}

/// Returns the position of the player on the `x` axis.
fn x_of(positions: &[Position], player: &str) -> f32 {
    positions.iter().rfind(|position| position.player.as_str() == player).expect("a position").x
}

#[tokio::test(start_paused = true)]
async fn a_player_who_comes_back_keeps_the_ship() {
    let game = serve();
    let mut ada = player(&game, "ada").await;
    let mut bob = player(&game, "bob").await;
    ada.request::<()>("steer", &Heading { x: -1.0, y: 0.0 }).await.unwrap();
    bob.stay(TICK * 201 / 2).await;
    drop(ada);
    bob.stay(TICK * (u32::try_from(AWAY).unwrap() - 20)).await;
    let mut ada = player(&game, "ada").await;
    assert!(x_of(&positions(&mut ada, TICK).await, "ada") < FIELD / 2.0, "the ship is where it went");

    drop(ada);
    bob.stay(TICK * (u32::try_from(AWAY).unwrap() + 20)).await;
    let mut ada = player(&game, "ada").await;
    let x = x_of(&positions(&mut ada, TICK).await, "ada");
    assert!((x - FIELD / 2.0).abs() < 0.01, "a ship has not waited for so long: {x}");
}

#[tokio::test(start_paused = true)]
async fn a_player_who_comes_back_while_the_old_client_hangs_keeps_the_seat() {
    for (others, back_on) in [(8, 0), (0, 0), (8, 1), (0, 1)] {
        let nodes = two_nodes();
        let mut gone = nodes[0].connect("/ws?uid=ada").await.unwrap();
        let arena = play(&mut gone).await.arena;
        gone.request::<()>("steer", &Heading { x: 1.0, y: 0.0 }).await.unwrap();
        let mut all = Vec::new();
        for number in 0..others {
            all.push(player(&nodes[0], &format!("player-{number}")).await);
        }
        gone.stay(TICK * 21 / 2).await;
        // The old client does not answer the close frame.
        let _gone = gone.hang();
        let mut ada = nodes[back_on].connect("/ws?uid=ada").await.unwrap();
        if others == SEATS - 1 {
            let mut newcomer = nodes[back_on].connect("/ws?uid=newcomer").await.unwrap();
            assert_ne!(play(&mut newcomer).await.arena, arena, "the newcomer took the seat");
        }
        let seated = play(&mut ada).await;
        assert_eq!((seated.arena, seated.players.len()), (arena, others + 1));
        let own = loop {
            let position = ada.push::<Position>().await;
            if position.player == seated.you {
                break position;
            }
        };
        assert!(own.x > FIELD / 2.0, "the ship is where it was left, at {}", own.x);
    }
}

#[tokio::test(start_paused = true)]
async fn an_arena_waits_for_its_players_and_then_ends() {
    let game = serve();
    let mut ada = player(&game, "ada").await;
    let arena = play(&mut ada).await.arena;
    ada.request::<()>("leave", &()).await.unwrap();
    ada.stay(Arena::LINGER.saturating_sub(TICK)).await;
    assert_eq!(game.hub().game_loops(), 1);
    while timeout(Duration::ZERO, ada.push::<Position>()).await.is_ok() {}
    ada.request::<Seated>("play", &arena).await.unwrap();
    assert!(ada.push::<Position>().await.step > 100, "it is the same arena");
    assert_eq!(play(&mut ada).await.arena, arena, "a player is in one arena");
    let mut bob = player(&game, "bob").await;
    assert_eq!(play(&mut bob).await.arena, arena, "it gets newcomers again");
    drop(bob);
    assert_eq!(ada.request::<Seated>("play", &"inn").await.unwrap().arena, arena);
    ada.request::<()>("leave", &()).await.unwrap();
    assert_eq!(ada.request::<Seated>("play", &"inn").await.err().unwrap().code, "bad_request");

    drop(ada);
    game.emptied().await;
    arenas_end(&game).await;
    let mut ada = player(&game, "ada").await;
    assert_eq!(ada.push::<Position>().await.step, 1);
    assert_ne!(play(&mut ada).await.arena, arena);
}

#[tokio::test(start_paused = true)]
async fn arenas_end_when_the_server_drains() {
    let game = serve();
    let mut ada = player(&game, "ada").await;
    let mut bob = player(&game, "bob").await;
    let ((), ada, bob) = tokio::join!(game.drain(), ada.closed(), bob.closed());
    assert_eq!(ada.unwrap().code(), CloseCode::DRAINING);
    assert_eq!(bob.unwrap().code(), CloseCode::DRAINING);
    assert_eq!(game.hub().game_loops(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_arena_moves_to_another_node_as_it_is() {
    let [one, other] = two_nodes();
    let mut ada = player(&one, "ada").await;
    let arena = play(&mut ada).await.arena;
    ada.request::<()>("steer", &Heading { x: 1.0, y: 0.0 }).await.unwrap();
    let before = positions(&mut ada, Duration::from_secs(1)).await;
    let ((), close) = tokio::join!(one.drain(), ada.closed());
    assert_eq!(close.unwrap().code(), CloseCode::DRAINING);
    assert_eq!((one.hub().game_loops(), other.hub().game_loops()), (0, 0));

    // A client asks the gateway for the node of its room, or another one.
    let mut ada = other.connect("/ws?uid=ada").await.unwrap();
    ada.request::<Seated>("play", &arena).await.unwrap();
    let after = ada.push::<Position>().await;
    let last = before.last().unwrap();
    assert!(after.step > last.step && after.x > last.x, "{last:?} is followed by {after:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_many_first_players_starts_the_arena() {
    let game = Arc::new(serve());
    let mut joins = JoinSet::new();
    for _ in 0..200 {
        let game = Arc::clone(&game);
        joins.spawn(async move {
            let mut client = game.connect("/ws").await.unwrap();
            let seated = play(&mut client).await;
            while client.push::<Position>().await.player != seated.you {}
            (seated.arena, client)
        });
    }
    let seated = joins.join_all().await;
    let arenas: BTreeSet<_> = seated.iter().map(|(arena, _)| arena).collect();
    assert_eq!(arenas.len(), 23);
    assert_eq!(game.hub().game_loops(), 23);
}

#[tokio::test]
async fn program_serves_players_and_drains() {
    let program = Program::start("arena_room").await;
    let (mut ada, _) = connect_async(program.url()).await.unwrap();
    let (mut bob, _) = connect_async(program.url().replace("ada", "bob")).await.unwrap();
    for client in [&mut ada, &mut bob] {
        client.send(Message::text(r#"{"method":"play","id":1}"#)).await.unwrap();
    }
    for client in [&mut ada, &mut bob] {
        for awaited in [r#"{"id":1,"result":{"arena":"arena-"#, r#"{"player":"ada","#, r#"{"player":"bob","#] {
            while !client.next().await.unwrap().unwrap().into_text().unwrap().contains(awaited) {}
        }
    }
    program.terminate();
    for client in [&mut ada, &mut bob] {
        let close = loop {
            if let Message::Close(close) = client.next().await.unwrap().unwrap() {
                break close.unwrap();
            }
        };
        assert_eq!(close.code, coding::CloseCode::Library(4000));
        // Reading on completes the close handshake.
        assert!(client.next().await.is_none_or(|last| last.is_err()));
    }
    assert_eq!(program.ended().await.code(), Some(0));
}
