//! Tests the arenas in memory under a paused clock, and the program over sockets.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use kengine::{
    CloseCode, Server, Uid,
    room::{Left, Member},
    testing::{self, Client, Served},
};
use kengine_examples::Program;
use serde::Deserialize;
use tokio::{
    sync::Barrier,
    task::JoinSet,
    time::{Instant, advance, sleep, timeout},
};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, protocol::frame::coding},
};

use crate::{
    arena::{FIELD, Heading, Over, Position, SPEED, TICK},
    game::Game,
};

mod arena;
mod arenas;
mod game;

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
    testing::serve(Server::new(Game::default()))
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

/// Asserts that every arena and every room has ended.
async fn assert_nothing_is_left(game: &Served<Game>) {
    timeout(TEST_TIMEOUT, game.dispatcher().arenas.ended()).await.expect("the arenas end");
    assert_eq!(game.dispatcher().arenas.running(), 0);
    assert_eq!(game.hub().rooms("").local_list(), []);
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
    assert_eq!(game.dispatcher().arenas.running(), 2);
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
async fn players_who_leave_or_disconnect_are_removed() {
    let game = serve();
    let mut ada = player(&game, "ada").await;
    let mut bob = player(&game, "bob").await;
    let cy = player(&game, "cy").await;
    // From now on, time is half-way between two ticks.
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
    assert_eq!(bob.request::<()>("play", &()).await.unwrap_err().code, "already_playing");
}

#[tokio::test(start_paused = true)]
async fn slow_client_receives_the_newest_position_of_each_player() {
    let minute = Duration::from_secs(60);
    let game = testing::serve(Server::new(Game::default()).idle_timeout(minute * 60));
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
async fn arena_ends_after_its_last_player_has_left() {
    let game = serve();
    let mut ada = player(&game, "ada").await;
    let mut bob = player(&game, "bob").await;
    ada.request::<()>("leave", &()).await.unwrap();
    assert!(
        timeout(TICK * 100, game.dispatcher().arenas.ended()).await.is_err(),
        "the arena ended before its last player left"
    );
    assert_eq!(game.dispatcher().arenas.running(), 1);
    bob.request::<()>("leave", &()).await.unwrap();
    assert_nothing_is_left(&game).await;

    // The next arena is new, and ends when its player disconnects.
    positions(&mut ada, Duration::ZERO).await;
    play(&mut ada).await;
    assert_eq!(ada.push::<Position>().await.step, 1);
    drop(ada);
    drop(bob);
    game.emptied().await;
    assert_nothing_is_left(&game).await;
}

#[tokio::test(start_paused = true)]
async fn arenas_end_when_the_server_drains() {
    let game = serve();
    let mut ada = player(&game, "ada").await;
    let mut bob = player(&game, "bob").await;
    let ((), ada, bob) = tokio::join!(game.drain(), ada.closed(), bob.closed());
    assert_eq!(ada.unwrap().code(), CloseCode::DRAINING);
    assert_eq!(bob.unwrap().code(), CloseCode::DRAINING);
    assert_nothing_is_left(&game).await;
}

#[tokio::test(start_paused = true)]
async fn reconnecting_player_keeps_the_ship() {
    let game = serve();
    let mut gone = player(&game, "ada").await;
    let mut bob = player(&game, "bob").await;
    gone.request::<()>("steer", &Heading { x: 1.0, y: 0.0 }).await.unwrap();
    // The old client does not answer the close frame, so its socket and session remain until the close timeout.
    let gone = gone.hang();
    bob.stay(TICK * 801 / 2).await;
    let mut ada = player(&game, "ada").await;
    assert_eq!(game.hub().rooms("arena-").local_list()[0].members, 2, "the old connection has left at once");
    let seen = positions(&mut ada, TICK).await;
    let own = seen.iter().find(|position| position.player.as_str() == "ada").unwrap();
    assert!(own.x > FIELD / 2.0, "the ship is where it was left, at {}", own.x);
    let seen = positions(&mut ada, Duration::from_secs(20)).await;
    assert_eq!(game.hub().rooms("arena-").local_list()[0].members, 2);
    let own = seen.iter().filter(|position| position.player.as_str() == "ada");
    assert_eq!(own.count(), 400, "one ship, which remains when the old connection ends");
    drop(gone);
}

#[tokio::test(start_paused = true)]
async fn reconnecting_player_keeps_the_seat_and_an_arena_without_others() {
    for others in [8, 0] {
        let game = serve();
        let mut gone = game.connect("/ws?uid=ada").await.unwrap();
        let arena = play(&mut gone).await.arena;
        gone.request::<()>("steer", &Heading { x: 1.0, y: 0.0 }).await.unwrap();
        let mut all = Vec::new();
        for number in 0..others {
            all.push(player(&game, &format!("player-{number}")).await);
        }
        gone.stay(TICK * 21 / 2).await;
        let _gone = gone.hang();
        let mut ada = game.connect("/ws?uid=ada").await.unwrap();
        let mut newcomer = game.connect("/ws?uid=newcomer").await.unwrap();
        assert_ne!(play(&mut newcomer).await.arena, arena, "the newcomer took the seat");
        let seated = play(&mut ada).await;
        assert_eq!((seated.arena, seated.players.len()), (arena, others + 1));
        let seen = positions(&mut ada, TICK).await;
        let own = seen.iter().find(|position| position.player.as_str() == "ada").unwrap();
        assert!(own.x > FIELD / 2.0, "the ship is where it was left, at {}", own.x);
    }
}

#[tokio::test(start_paused = true)]
async fn command_to_a_full_channel_is_answered_with_an_error() {
    let game = serve();
    let mut ada = player(&game, "ada").await;
    let mut crowd = [player(&game, "bob").await, player(&game, "cy").await];
    let heading = Heading { x: 1.0, y: 0.0 };
    // All of these are sent between two ticks.
    for client in &mut crowd {
        for _ in 0..60 {
            client.notify("steer", &heading).await;
        }
    }
    let failure = loop {
        if let Err(failure) = ada.request::<()>("steer", &heading).await {
            break failure;
        }
    };
    assert_eq!(failure.code, "arena_busy");
    // A player can leave although the channel is full. After the next tick there is space again.
    ada.request::<()>("leave", &()).await.unwrap();
    let [mut bob, mut cy] = crowd;
    let seen = positions(&mut bob, TICK * 3 / 2).await;
    assert_eq!(players(&seen), BTreeSet::from(["bob", "cy"]));
    assert!(seen.iter().all(|position| position.x > FIELD / 2.0), "the queued commands were executed: {seen:?}");
    cy.stay(Duration::from_secs(1)).await;
    cy.request::<()>("steer", &heading).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn panic_ends_one_arena_and_its_players_can_play_again() {
    // The log panics when the arena warns that it cannot keep up. This stands for any bug in an arena.
    let fails = Arc::new(AtomicBool::new(false));
    let log = {
        let fails = Arc::clone(&fails);
        move || {
            assert!(!fails.swap(false, Ordering::Relaxed), "no log can be written");
            io::sink()
        }
    };
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(log).finish();
    let _log = tracing::subscriber::set_default(subscriber);

    let game = serve();
    let mut ada = game.connect("/ws?uid=ada").await.unwrap();
    let arena = play(&mut ada).await.arena;
    let mut bob = player(&game, "bob").await;
    fails.store(true, Ordering::Relaxed);
    advance(Duration::from_secs(1)).await;
    ada.push::<Over>().await;
    bob.push::<Over>().await;
    assert!(!fails.load(Ordering::Relaxed), "the panic came from the log");
    assert_eq!(game.dispatcher().arenas.running(), 0);
    assert_eq!(ada.request::<()>("steer", &Heading { x: 1.0, y: 0.0 }).await.unwrap_err().code, "arena_over");

    positions(&mut ada, Duration::ZERO).await;
    for client in [&mut ada, &mut bob] {
        assert_eq!(play(client).await.arena, arena, "the players stay in the same room");
    }
    assert_eq!(game.dispatcher().arenas.running(), 1);
    assert_eq!(players(&positions(&mut ada, TICK * 2).await), BTreeSet::from(["ada", "bob"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_many_first_players_starts_the_arena() {
    let game = Arc::new(serve());
    let together = Arc::new(Barrier::new(200));
    let mut joins = JoinSet::new();
    for _ in 0..200 {
        let (game, together) = (Arc::clone(&game), Arc::clone(&together));
        joins.spawn(async move {
            let mut client = game.connect("/ws").await.unwrap();
            together.wait().await;
            let seated = play(&mut client).await;
            (seated.arena, client)
        });
    }
    let seated = joins.join_all().await;
    let arenas: BTreeSet<_> = seated.iter().map(|(arena, _)| arena).collect();
    assert_eq!(arenas.len(), 23);
    assert_eq!(game.dispatcher().arenas.running(), 23);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_left_of_players_who_come_and_go() {
    let game = Arc::new(serve());
    let mut crowd = JoinSet::new();
    for number in 0..200_u32 {
        let game = Arc::clone(&game);
        crowd.spawn(async move {
            let mut client = game.connect("/ws").await.unwrap();
            for round in 0..6 {
                let you = play(&mut client).await.you;
                // The burst may exceed the capacity of an arena's channel.
                if let Err(failure) = client.request::<()>("steer", &Heading { x: 1.0, y: 0.0 }).await {
                    assert_eq!(failure.code, "arena_busy");
                }
                // Some wait for their own position, which shows that their arena is running and not ending.
                if (number + round) % 3 == 0 {
                    while client.push::<Position>().await.player != you {}
                }
                if number % 2 == 0 {
                    client.request::<()>("leave", &()).await.unwrap();
                } else {
                    client = game.connect("/ws").await.unwrap();
                }
            }
        });
    }
    crowd.join_all().await;
    game.emptied().await;
    assert_nothing_is_left(&game).await;
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
