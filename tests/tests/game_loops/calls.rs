//! What a loop is called with, in memory and under a paused clock.

use std::{sync::Mutex, time::Duration};

use kengine::{
    Error, Hub, Server, Uid,
    cluster::Memory,
    room::{GameLoop, LoopRoom, Start, Tick},
    testing::{self, Client, Served},
};
use serde::{Deserialize, Serialize};
use tokio::time::{advance, sleep};

/// What the loops of a test were called with.
static CALLS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Records each call under the name of its room.
#[derive(Default)]
struct Recorder {
    messages: u32,
    panics_at_ticks: bool,
}

#[derive(Serialize, Deserialize)]
enum Order {
    Count,
    Panic,
    PanicAtTicks,
    End,
    Repeat(String),
    Letters(usize),
}

impl Recorder {
    fn record(room: &LoopRoom<'_>, call: impl std::fmt::Display) {
        CALLS.lock().unwrap().push(format!("{}: {call}", room.name()));
    }
}

/// Takes what the loop of a room was called with.
fn calls(room: &str) -> Vec<String> {
    let prefix = format!("{room}: ");
    let calls = CALLS.lock().unwrap();
    calls.iter().filter_map(|call| call.strip_prefix(&prefix)).map(str::to_owned).collect()
}

impl GameLoop for Recorder {
    type Message = Order;
    type Reply = String;
    type Saved = u32;
    const TICK: Duration = Duration::from_secs(1);
    const LINGER: Duration = Duration::from_secs(20);

    fn start(room: &LoopRoom<'_>, start: Start<u32>) -> Self {
        Self::record(room, format_args!("{start:?}"));
        Self { messages: start.saved().unwrap_or_default(), panics_at_ticks: false }
    }

    fn message(&mut self, room: &LoopRoom<'_>, order: Order) -> String {
        self.messages += 1;
        match order {
            Order::Count => {}
            Order::Panic => panic!("as wanted"),
            Order::PanicAtTicks => self.panics_at_ticks = true,
            Order::End => room.end(),
            Order::Repeat(text) => return text,
            Order::Letters(count) => return "x".repeat(count),
        }
        self.messages.to_string()
    }

    fn tick(&mut self, room: &LoopRoom<'_>, Tick { number, missed, late, .. }: Tick) {
        Self::record(room, format_args!("tick {number}, {missed} missed, {} ms late", late.as_millis()));
        assert!(!self.panics_at_ticks, "as wanted");
    }

    fn joined(&mut self, room: &LoopRoom<'_>, player: &Uid) {
        Self::record(room, format_args!("joined {player}"));
    }

    fn left(&mut self, room: &LoopRoom<'_>, player: &Uid) {
        Self::record(room, format_args!("left {player}"));
    }

    fn emptied(&mut self, room: &LoopRoom<'_>) {
        Self::record(room, "emptied");
    }

    fn ended(&mut self, room: &LoopRoom<'_>) {
        Self::record(room, "ended");
    }

    fn save(&self) -> Option<u32> {
        Some(self.messages)
    }
}

/// Another loop, which does not linger and never ticks.
struct Brief;

impl GameLoop for Brief {
    type Message = ();
    type Reply = String;
    type Saved = ();
    const TICK: Duration = Duration::MAX;
    const LINGER: Duration = Duration::ZERO;

    fn start(_: &LoopRoom<'_>, _: Start<()>) -> Self {
        Self
    }

    fn message(&mut self, _: &LoopRoom<'_>, (): ()) -> String {
        "brief".to_owned()
    }
}

struct Game;

#[kengine::dispatcher]
impl Game {
    #[accept]
    async fn enter(&self, handshake: &kengine::Handshake) -> Result<Uid, kengine::Refusal> {
        Ok(Uid::new(handshake.query("uid").unwrap_or_default())?)
    }

    #[route]
    async fn play(&self, hub: &Hub, connection: &kengine::Connection<Uid>, room: String) -> Result<(), Error> {
        let room = hub.room(room);
        room.join(connection).await?;
        Ok(room.run::<Recorder>().await?)
    }

    #[route]
    async fn play_briefly(&self, hub: &Hub, connection: &kengine::Connection<Uid>, room: String) -> Result<(), Error> {
        let room = hub.room(room);
        room.join(connection).await?;
        Ok(room.run::<Brief>().await?)
    }

    #[route]
    async fn ask_briefly(&self, hub: &Hub, room: String) -> Result<String, Error> {
        Ok(hub.room(room).ask::<Brief>(&()).await?)
    }

    #[route]
    async fn leave(&self, hub: &Hub, connection: &kengine::Connection<Uid>, room: String) {
        hub.room(room).leave(connection);
    }

    #[route]
    async fn ask(&self, hub: &Hub, (room, order): (String, Order)) -> Result<String, Error> {
        Ok(hub.room(room).ask::<Recorder>(&order).await?)
    }

    #[route]
    async fn tell(&self, hub: &Hub, room: String) -> Result<(), Error> {
        Ok(hub.room(room).tell::<Recorder>(&Order::Count)?)
    }
}

async fn player(game: &Served<Game>, uid: &str) -> Client {
    game.connect(format!("/ws?uid={uid}")).await.unwrap()
}

async fn play(client: &mut Client, room: &str) {
    client.request::<()>("play", room).await.unwrap();
}

async fn ask(client: &mut Client, room: &str, order: Order) -> Result<String, String> {
    client.request("ask", &(room, order)).await.map_err(|error| error.code)
}

fn serve() -> Served<Game> {
    testing::serve(Server::new(Game).max_messages_per_second(u32::MAX, 1).idle_timeout(Duration::from_secs(3600)))
}

/// Two nodes of one cluster.
fn two() -> [Served<Game>; 2] {
    let cluster = Memory::new();
    [(); 2].map(|()| testing::serve(Server::new(Game).cluster(&cluster).idle_timeout(Duration::from_secs(3600))))
}

#[tokio::test(start_paused = true)]
async fn ticks_do_not_bunch_after_a_delay() {
    let game = serve();
    let mut ada = player(&game, "ada").await;
    play(&mut ada, "late").await;
    ada.stay(Duration::from_millis(2050)).await;
    // As if the machine stood still.
    advance(Duration::from_millis(3200)).await;
    ada.stay(Duration::from_secs(2)).await;
    let expected = [
        "Created",
        "joined ada",
        "tick 1, 0 missed, 0 ms late",
        "tick 2, 0 missed, 0 ms late",
        "tick 5, 2 missed, 250 ms late",
        "tick 6, 0 missed, 0 ms late",
        "tick 7, 0 missed, 0 ms late",
    ];
    let calls: Vec<_> = calls("late").into_iter().map(|call| call.replace("251", "250")).collect();
    assert_eq!(calls, expected);
}

#[tokio::test(start_paused = true)]
async fn a_loop_is_told_of_players_and_ends_after_it_has_lingered() {
    let game = serve();
    let (mut ada, mut bob) = (player(&game, "ada").await, player(&game, "bob").await);
    play(&mut ada, "life").await;
    play(&mut bob, "life").await;
    ada.request::<()>("leave", "life").await.unwrap();
    ada.stay(Duration::from_millis(1)).await;
    bob.request::<()>("leave", "life").await.unwrap();
    sleep(Recorder::LINGER.mul_f32(0.99)).await;
    play(&mut ada, "life").await;
    ada.request::<()>("leave", "life").await.unwrap();
    sleep(Recorder::LINGER.mul_f32(0.99)).await;
    assert_eq!(game.hub().game_loops(), 1);
    sleep(Recorder::LINGER.mul_f32(0.02)).await;
    assert_eq!(game.hub().game_loops(), 0);
    let told: Vec<_> = calls("life").into_iter().filter(|call| !call.starts_with("tick")).collect();
    let expected =
        ["joined ada", "joined bob", "left ada", "left bob", "emptied", "joined ada", "left ada", "emptied", "ended"];
    assert_eq!(told[1..], expected);
    assert_eq!(ask(&mut ada, "life", Order::Count).await, Err("unavailable".to_owned()));
    play(&mut ada, "life").await;
    assert_eq!(ask(&mut ada, "life", Order::Count).await.as_deref(), Ok("1"), "it is a new one");
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_panics_starts_anew_with_what_it_saved() {
    let game = serve();
    let mut ada = player(&game, "ada").await;
    play(&mut ada, "panic").await;
    for count in 1..=3 {
        assert_eq!(ask(&mut ada, "panic", Order::Count).await, Ok(count.to_string()));
    }
    ada.stay(Recorder::SAVE_INTERVAL * 2).await;
    assert_eq!(ask(&mut ada, "panic", Order::Panic).await, Err("internal".to_owned()));
    ada.stay(Duration::from_secs(3)).await;
    assert_eq!(ask(&mut ada, "panic", Order::Count).await.as_deref(), Ok("4"));
    assert!(calls("panic").contains(&"Moved(Some(3))".to_owned()));
    assert!(!calls("panic").contains(&"ended".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_ends_itself_starts_only_when_it_is_wanted() {
    let game = serve();
    let mut ada = player(&game, "ada").await;
    play(&mut ada, "over").await;
    assert!(ask(&mut ada, "over", Order::End).await.is_ok());
    ada.stay(Duration::from_secs(30)).await;
    assert_eq!(game.hub().game_loops(), 0);
    assert_eq!(ask(&mut ada, "over", Order::Count).await, Err("unavailable".to_owned()));
    assert_eq!(calls("over"), ["Created", "joined ada", "ended"]);
    play(&mut ada, "over").await;
    assert_eq!(ask(&mut ada, "over", Order::Count).await.as_deref(), Ok("1"));
}

#[tokio::test(start_paused = true)]
async fn messages_of_all_nodes_reach_the_loop_and_get_replies() {
    let [one, other] = two();
    let (mut ada, mut bob) = (player(&one, "ada").await, player(&other, "bob").await);
    play(&mut ada, "both").await;
    play(&mut bob, "both").await;
    assert_eq!((one.hub().game_loops(), other.hub().game_loops()), (1, 0));
    assert_eq!(ask(&mut ada, "both", Order::Count).await.as_deref(), Ok("1"));
    assert_eq!(ask(&mut bob, "both", Order::Count).await.as_deref(), Ok("2"));
    bob.request::<()>("tell", "both").await.unwrap();
    assert_eq!(ask(&mut bob, "both", Order::Count).await.as_deref(), Ok("4"));
    assert_eq!(calls("both")[..3], ["Created", "joined ada", "joined bob"]);

    drop(bob);
    ada.stay(Duration::from_secs(1)).await;
    assert!(calls("both").contains(&"left bob".to_owned()));

    // The loop moves with all that it knows, but to no node without players.
    let mut bob = player(&other, "bob").await;
    play(&mut bob, "both").await;
    let ((), _) = tokio::join!(one.drain(), ada.closed());
    assert_eq!(other.hub().game_loops(), 1);
    assert_eq!(ask(&mut bob, "both", Order::Count).await.as_deref(), Ok("5"));
    bob.stay(Duration::from_secs(10)).await;
    let last: Vec<_> = calls("both").into_iter().filter(|call| !call.starts_with("tick")).collect();
    assert_eq!(last[last.len() - 2..], ["Moved(Some(4))", "left ada"], "{last:?}");
}

#[tokio::test(start_paused = true)]
async fn a_room_is_told_of_its_life_once_in_the_cluster() {
    let [one, other] = two();
    let (mut ada, mut bob) = (player(&one, "ada").await, player(&other, "bob").await);
    play(&mut ada, "room").await;
    play(&mut bob, "room").await;
    // It moves when its node drains, and lingers while nobody is there.
    let ((), _) = tokio::join!(one.drain(), ada.closed());
    bob.request::<()>("leave", "room").await.unwrap();
    bob.stay(Recorder::LINGER.mul_f32(0.5)).await;
    play(&mut bob, "room").await;
    bob.request::<()>("leave", "room").await.unwrap();
    bob.stay(Recorder::LINGER.mul_f32(1.1)).await;
    let is_of_life = |call: &String| !call.contains("joined") && !call.contains("left") && !call.contains("tick");
    let life: Vec<_> = calls("room").into_iter().filter(is_of_life).collect();
    assert_eq!(life, ["Created", "Moved(Some(0))", "emptied", "emptied", "ended"]);
    play(&mut bob, "room").await;
    assert_eq!(calls("room").iter().filter(|call| *call == "Created").count(), 2, "a new one");
}

#[tokio::test(start_paused = true)]
async fn each_limit_refuses_what_exceeds_it() {
    let server = Server::new(Game).max_game_loops(1).max_game_loop_queue(2).max_game_loop_message_size(100);
    let game = testing::serve(server);
    let mut ada = player(&game, "ada").await;
    play(&mut ada, "small").await;
    let refused = ada.request::<()>("play", "second").await.unwrap_err();
    assert_eq!(refused.code, "unavailable");
    let order = || Order::Repeat("x".repeat(100));
    assert_eq!(ask(&mut ada, "small", order()).await, Err("too_large".to_owned()));
    // Between two turns of the loop, the queue takes two messages.
    let hub = game.hub();
    let told: Vec<_> = (0..3).map(|_| hub.room("small").tell::<Recorder>(&Order::Count).is_ok()).collect();
    assert_eq!(told, [true, true, false]);
    let totals: Vec<_> = hub.refusals().filter(|(name, total)| name.contains("game_loop") && *total > 0).collect();
    assert_eq!(totals, [("max_game_loops", 1), ("max_game_loop_queue", 1)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_is_not_saved() {
    let game = testing::serve(Server::new(Game).max_game_loop_saved_size(1));
    let mut ada = player(&game, "ada").await;
    play(&mut ada, "fat").await;
    assert_eq!(ask(&mut ada, "fat", Order::Count).await.as_deref(), Ok("1"));
    ada.stay(Recorder::SAVE_INTERVAL * 2).await;
    assert_eq!(ask(&mut ada, "fat", Order::Panic).await, Err("internal".to_owned()));
    ada.stay(Duration::from_secs(3)).await;
    assert!(calls("fat").contains(&"Moved(None)".to_owned()));
    // What was saved before is kept: here the state with a number of one digit.
    let limit = r#"{"players":["ada"],"saved":9}"#.len();
    let game = testing::serve(Server::new(Game).max_game_loop_saved_size(limit));
    let mut ada = player(&game, "ada").await;
    play(&mut ada, "thin").await;
    for count in 1..=12 {
        assert_eq!(ask(&mut ada, "thin", Order::Count).await, Ok(count.to_string()));
        ada.stay(Recorder::SAVE_INTERVAL).await;
    }
    assert_eq!(ask(&mut ada, "thin", Order::Panic).await, Err("internal".to_owned()));
    ada.stay(Duration::from_secs(3)).await;
    assert_eq!(ask(&mut ada, "thin", Order::Count).await.as_deref(), Ok("10"));
}

#[tokio::test(start_paused = true)]
async fn a_loop_whose_tick_panics_starts_anew_at_most_once_in_a_third_of_the_lease() {
    let game = serve();
    let mut ada = player(&game, "ada").await;
    play(&mut ada, "tick").await;
    for _ in 0..4 {
        assert!(ask(&mut ada, "tick", Order::PanicAtTicks).await.is_ok());
        ada.stay(Duration::from_millis(1100)).await;
        assert_eq!(ask(&mut ada, "tick", Order::Count).await, Err("unavailable".to_owned()), "it starts anew at once");
        ada.stay(Duration::from_secs(2)).await;
    }
    let starts: Vec<_> = calls("tick").into_iter().filter(|call| call.contains("Moved")).collect();
    assert_eq!(starts, ["Moved(Some(0))"; 4]);
    // A player who wants it starts it at once.
    assert!(ask(&mut ada, "tick", Order::Panic).await.is_err());
    play(&mut ada, "tick").await;
    assert_eq!(ask(&mut ada, "tick", Order::Count).await.as_deref(), Ok("1"));
    assert!(!calls("tick").contains(&"ended".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_does_not_linger_runs_while_it_has_players() {
    let game = serve();
    let mut ada = player(&game, "ada").await;
    for _ in 0..2 {
        ada.request::<()>("play_briefly", "brief").await.unwrap();
        ada.stay(Duration::from_secs(3)).await;
        assert_eq!(game.hub().game_loops(), 1, "it ended although it has a player");
        assert_eq!(ada.request::<String>("ask_briefly", "brief").await.unwrap(), "brief");
        ada.request::<()>("leave", "brief").await.unwrap();
        ada.stay(Duration::from_secs(3)).await;
        assert_eq!(game.hub().game_loops(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn another_loop_runs_in_a_room_whose_loop_is_over() {
    for nodes in [vec![serve()], two().into()] {
        let mut players = Vec::new();
        for (number, node) in nodes.iter().enumerate() {
            let mut player = player(node, &format!("{number}")).await;
            play(&mut player, "phases").await;
            players.push(player);
        }
        let player = players.last_mut().expect("a player");
        assert!(player.request::<String>("ask_briefly", "phases").await.is_err(), "it is not the loop that runs");
        assert!(ask(player, "phases", Order::End).await.is_ok());
        player.stay(Duration::from_secs(3)).await;
        player.request::<()>("play_briefly", "phases").await.unwrap();
        assert_eq!(player.request::<String>("ask_briefly", "phases").await.unwrap(), "brief");
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_loop_that_ends_is_refused() {
    let [one, other] = two();
    let mut players = Vec::new();
    for (number, node) in [&one, &one, &other, &other].into_iter().enumerate() {
        let mut player = player(node, &format!("{number}")).await;
        play(&mut player, "last").await;
        players.push(player);
    }
    let asks = players.iter_mut().map(|player| ask(player, "last", Order::End));
    let answers = futures_util::future::join_all(asks).await;
    let mut answers: Vec<_> = answers.iter().map(|answer| answer.as_deref().map_err(String::as_str)).collect();
    answers.sort_unstable();
    assert_eq!(answers, [Ok("1"), Err("unavailable"), Err("unavailable"), Err("unavailable")]);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_is_too_large_is_an_error() {
    let cluster = Memory::new();
    let [one, other] =
        [(); 2].map(|()| testing::serve(Server::new(Game).cluster(&cluster).max_game_loop_message_size(100)));
    let (mut ada, mut bob) = (player(&one, "ada").await, player(&other, "bob").await);
    play(&mut ada, "long").await;
    play(&mut bob, "long").await;
    // The message is larger than its reply, so the reply to this one is just small enough.
    for client in [&mut ada, &mut bob] {
        assert!(ask(client, "long", Order::Repeat("x".repeat(80))).await.is_ok());
        assert_eq!(ask(client, "long", Order::Letters(200)).await, Err("internal".to_owned()));
    }
}
