//! Rooms: their members, who receives what, and how rooms end.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use kengine::{
    CloseCode, Connection, Duplicates, Error, Hub, Push, Server, Session, Uid,
    room::{JoinError, Members, RoomCount},
    testing::{self, Client, Served},
};
use kengine_tests::{every_row, within, without_rates};
use serde::{Deserialize, Serialize};

/// A session whose public data is its name, unless the test makes it panic.
#[derive(Clone)]
struct Player {
    name: &'static str,
    panics: Arc<AtomicBool>,
}

impl Player {
    fn new(name: &'static str) -> Self {
        Self { name, panics: Arc::default() }
    }
}

impl Session for Player {
    fn uid(&self) -> Option<Uid> {
        Uid::new(self.name).ok()
    }

    fn public(&self) -> impl Serialize {
        assert!(!self.panics.load(Ordering::SeqCst), "as the test wants");
        self.name.to_uppercase()
    }

    fn anonymous() -> Option<Self> {
        Some(Self::new("nobody"))
    }
}

#[derive(Serialize, Push)]
struct Said<'a> {
    text: &'a str,
}

/// Returns the push as it is on the wire.
fn said(text: &str) -> String {
    format!(r#"{{"method":"said","message":{{"text":"{text}"}}}}"#)
}

fn presence(what: &str, room: &str, name: &str) -> String {
    let public = name.to_uppercase();
    format!(r#"{{"method":"{what}","message":{{"room":"{room}","uid":"{name}","public":"{public}"}}}}"#)
}

#[derive(Deserialize)]
struct JoinRequest {
    room: String,
    #[serde(default)]
    presence: bool,
    seats: Option<usize>,
    /// Whether the guard panics.
    #[serde(default)]
    panics: bool,
}

#[derive(Deserialize)]
struct Speech {
    text: String,
    rooms: Vec<String>,
    /// Send only to these users.
    only: Option<Vec<Uid>>,
    /// Do not send to these users.
    except: Option<Vec<Uid>>,
    #[serde(default)]
    except_me: bool,
    #[serde(default)]
    only_me: bool,
}

#[derive(Default)]
struct Town {
    /// The connections, in the order in which they opened.
    guests: Mutex<Vec<Connection<Player>>>,
    /// The name of each player who has left, and the members of the rooms that the player was in, during the close
    /// hook.
    farewells: Mutex<Vec<(String, Vec<String>)>>,
}

#[kengine::dispatcher(session = Player)]
impl Town {
    #[open]
    async fn greet(&self, connection: &Connection<Player>) {
        self.guests.lock().unwrap().push(connection.clone());
    }

    #[route]
    async fn join(&self, hub: &Hub, connection: &Connection<Player>, request: JoinRequest) -> Result<(), Error> {
        let room = hub.room(&request.room);
        let mut join = room.join(connection);
        if request.presence {
            join = join.with_presence();
        }
        if let Some(seats) = request.seats {
            join = join.guard(move |inside| {
                assert!(!request.panics, "as the test wants");
                if inside.len() < seats { Ok(()) } else { Err(Error::new("full", "no seat is left")) }
            });
        }
        Ok(join.await?)
    }

    #[route]
    async fn leave(&self, hub: &Hub, connection: &Connection<Player>, room: String) -> bool {
        hub.room(room).leave(connection)
    }

    #[route]
    async fn members(&self, hub: &Hub, room: String) -> Members {
        hub.room(room).members().await
    }

    #[route]
    async fn rooms(&self, connection: &Connection<Player>) -> Vec<String> {
        let mut rooms: Vec<_> = connection.rooms().iter().map(|room| room.name().to_owned()).collect();
        rooms.sort_unstable();
        rooms
    }

    #[route]
    async fn say(&self, hub: &Hub, connection: &Connection<Player>, speech: Speech) -> Result<usize, Error> {
        let mut reached = 0;
        for name in speech.rooms {
            let mut room = hub.room(name);
            if let Some(only) = &speech.only {
                room = room.only(only.clone());
            }
            if let Some(except) = &speech.except {
                room = room.except(&except[..]);
            }
            if speech.except_me {
                room = room.except(connection);
            }
            if speech.only_me {
                room = room.only(connection.id());
            }
            reached += room.send(&Said { text: &speech.text })?;
        }
        Ok(reached)
    }

    #[close]
    async fn farewell(&self, connection: &Connection<Player>, player: &Player) -> Result<(), Error> {
        let mut members = Vec::new();
        for room in connection.rooms() {
            members.extend(room.members().await.iter().map(|member| member.uid.to_string()));
            room.except(connection).send(&Said { text: "farewell" })?;
        }
        self.farewells.lock().unwrap().push((player.name.to_owned(), members));
        Ok(())
    }
}

fn serve() -> Served<Town> {
    testing::serve(without_rates(Town::default()).duplicates(Duplicates::Allow))
}

async fn enter(town: &Served<Town>, name: &'static str) -> Client {
    town.connect_as(Player::new(name)).await.expect("a place")
}

async fn join(client: &mut Client, room: &str) {
    let joined = client.request::<()>("join", &serde_json::json!({ "room": room })).await;
    joined.expect("a room to join");
}

async fn join_with_presence(client: &mut Client, room: &str) {
    let joined = client.request::<()>("join", &serde_json::json!({ "room": room, "presence": true })).await;
    joined.expect("a room to join");
}

async fn leave(client: &mut Client, room: &str) -> bool {
    client.request("leave", room).await.expect("an answer")
}

async fn members(client: &mut Client, room: &str) -> serde_json::Value {
    client.request("members", room).await.expect("an answer")
}

/// Returns everything that has come and was not read yet.
async fn heard(client: &mut Client) -> Vec<String> {
    client.heartbeat().await;
    let mut heard = Vec::new();
    loop {
        match client.next_text().await.expect("a connection that lasts") {
            text if text == "q" => return heard,
            text => heard.push(text),
        }
    }
}

fn rooms(hub: &Hub) -> Vec<(String, usize)> {
    hub.rooms("").local_list().into_iter().map(|RoomCount { name, members, .. }| (name, members)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_room_lasts_from_its_first_join_to_its_last_leave() {
    let town = serve();
    let (mut ada, mut bob) = (enter(&town, "ada").await, enter(&town, "bob").await);
    assert_eq!(members(&mut ada, "inn").await, serde_json::json!([]));
    join(&mut bob, "inn").await;
    join(&mut ada, "inn").await;
    // A second join changes nothing.
    join(&mut ada, "inn").await;
    join(&mut ada, "mill").await;
    let both = serde_json::json!([{"uid": "ada", "public": "ADA"}, {"uid": "bob", "public": "BOB"}]);
    assert_eq!(members(&mut bob, "inn").await, both);
    assert_eq!(rooms(&town.hub()), [("inn".to_owned(), 2), ("mill".to_owned(), 1)]);
    assert_eq!(ada.request::<Vec<String>>("rooms", &()).await.unwrap(), ["inn", "mill"]);

    assert!(leave(&mut ada, "inn").await);
    assert!(!leave(&mut ada, "inn").await, "the second leave");
    assert!(!leave(&mut ada, "moon").await, "an unknown room");
    assert_eq!(members(&mut ada, "inn").await, serde_json::json!([{"uid": "bob", "public": "BOB"}]));
    assert_eq!(ada.request::<Vec<String>>("rooms", &()).await.unwrap(), ["mill"]);
    assert!(leave(&mut ada, "mill").await);
    drop(bob);
    drop(ada);
    town.emptied().await;
    assert_eq!(rooms(&town.hub()), []);
}

#[tokio::test(start_paused = true)]
async fn presence_tells_of_users_and_not_of_connections() {
    let town = serve();
    let mut watcher = enter(&town, "eve").await;
    let mut deaf = enter(&town, "joe").await;
    join_with_presence(&mut watcher, "inn").await;
    join(&mut deaf, "inn").await;
    assert_eq!(heard(&mut watcher).await, [presence("joined", "inn", "joe")]);

    let (mut first, mut second) = (enter(&town, "ada").await, enter(&town, "ada").await);
    join_with_presence(&mut first, "inn").await;
    join_with_presence(&mut second, "inn").await;
    assert_eq!(heard(&mut watcher).await, [presence("joined", "inn", "ada")], "one push for both connections");
    assert!(leave(&mut first, "inn").await);
    assert_eq!(heard(&mut watcher).await, [""; 0], "the user is still present");
    join(&mut first, "inn").await;
    drop(second);
    within("the end of a connection", async {
        while town.hub().user("ada").connections() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(heard(&mut watcher).await, [said("farewell")], "the user is still present");
    assert!(leave(&mut first, "inn").await);
    assert_eq!(heard(&mut watcher).await, [presence("left", "inn", "ada")]);
    // Members that did not ask for presence get none of it, and no member gets its own joins and leaves.
    assert_eq!(heard(&mut deaf).await, [said("farewell")]);
    assert_eq!(heard(&mut first).await, [said("farewell")]);
    // A member that asks later gets presence from then on.
    join_with_presence(&mut deaf, "inn").await;
    drop(watcher);
    assert_eq!(deaf.next_text().await.unwrap(), presence("left", "inn", "eve"));
    assert_eq!(deaf.next_text().await.unwrap(), said("farewell"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_players_gets_the_last_seat() {
    let town = serve();
    let mut players = [enter(&town, "ada").await, enter(&town, "bob").await];
    let mut winners = [0, 0];
    for round in 0..300 {
        let request = serde_json::json!({ "room": format!("table {round}"), "seats": 1 });
        let sitting = players.iter_mut().map(|player| player.request::<()>("join", &request));
        let seated = join_all(sitting).await;
        for (seated, wins) in seated.iter().zip(&mut winners) {
            match seated {
                Ok(()) => *wins += 1,
                Err(failure) => assert_eq!(failure.code, "full"),
            }
        }
        assert_eq!(winners[0] + winners[1], round + 1);
        assert_eq!(rooms(&town.hub()), [(format!("table {round}"), 1)]);
        let room = format!("table {round}");
        for player in &mut players {
            leave(player, &room).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_guard_skips_members_and_leaves_no_empty_room() {
    let town = serve();
    let (mut ada, mut bob) = (enter(&town, "ada").await, enter(&town, "bob").await);
    let seats = |seats: usize| serde_json::json!({ "room": "table", "seats": seats });
    ada.request::<()>("join", &seats(1)).await.expect("a seat");
    ada.request::<()>("join", &seats(1)).await.expect("a seat that the player has already");
    assert_eq!(bob.request::<()>("join", &seats(1)).await.unwrap_err().code, "full");
    assert_eq!(bob.request::<Vec<String>>("rooms", &()).await.unwrap(), [""; 0]);
    leave(&mut ada, "table").await;
    let panics = serde_json::json!({ "room": "table", "seats": 1, "panics": true });
    for request in [&seats(0), &panics] {
        let refused = bob.request::<()>("join", request).await.unwrap_err();
        assert_eq!(refused.code, if *request == panics { "internal" } else { "full" });
        assert_eq!(rooms(&town.hub()), []);
    }
    bob.request::<()>("join", &seats(1)).await.expect("a seat");
    assert_eq!(ada.request::<()>("join", &panics).await.unwrap_err().code, "internal");
    assert_eq!(rooms(&town.hub()), [("table".to_owned(), 1)]);
}

#[tokio::test]
async fn a_player_whom_a_guard_refuses_has_no_seat() {
    let town = serve();
    let (_ada, _bob) = (enter(&town, "ada").await, enter(&town, "bob").await);
    let guests = town.dispatcher().guests.lock().unwrap().clone();
    let [ada, bob] = &guests[..] else { panic!("two guests") };
    let hub = town.hub();
    let refused = hub.room("table").join(ada).seats(1).guard(|_| Err(Error::new("closed", "not today"))).await;
    assert!(matches!(refused, Err(JoinError::Refused(_))), "{refused:?}");
    hub.room("table").join(bob).seats(1).await.expect("the seat that nobody has");
    assert!(matches!(hub.room("table").join(ada).seats(1).await, Err(JoinError::Full(1))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_member_who_joins_an_ending_room_is_in_a_lasting_one() {
    const ROUNDS: usize = 5000;
    // The clients read nothing, however long it takes.
    let town = testing::serve(without_rates(Town::default()).idle_timeout(Duration::MAX));
    let (_ada, _bob, _eve) = (enter(&town, "ada").await, enter(&town, "bob").await, enter(&town, "eve").await);
    let guests = town.dispatcher().guests.lock().unwrap().clone();
    let coming = guests.into_iter().map(|guest| {
        let hub = town.hub();
        tokio::spawn(async move {
            let is_there = async || hub.room("inn").members().await.iter().any(|member| member.uid == *guest.uid());
            for round in 0..ROUNDS {
                // The room ends when its last member leaves, or when the guard refuses a connection for which the room
                // was created.
                let refused = hub.room("inn").join(&guest).guard(|_| {
                    std::thread::yield_now();
                    Err(Error::new("full", "no seat is left"))
                });
                assert!(matches!(refused.await, Err(JoinError::Refused(_))), "round {round}");
                assert!(!is_there().await, "round {round}");
                hub.room("inn").join(&guest).await.expect("a room to join");
                assert!(is_there().await, "round {round}");
                assert!(hub.room("inn").leave(&guest), "round {round}");
                assert!(!is_there().await, "round {round}");
            }
        })
    });
    for coming in join_all(coming).await {
        coming.expect("no panic");
    }
    assert_eq!(rooms(&town.hub()), []);
}

#[tokio::test(start_paused = true)]
async fn a_send_reaches_the_members_it_is_for() {
    let town = serve();
    let mut names = ["ada", "ada", "bob", "eve"].into_iter();
    let mut inside = Vec::new();
    for name in names.by_ref() {
        let mut client = enter(&town, name).await;
        join(&mut client, "inn").await;
        inside.push(client);
    }
    let mut outside = enter(&town, "joe").await;
    // Each row has the audience of a send by the first of Ada's two connections, and which of the four members receive
    // it.
    let rows = [
        (r#""only":null"#, [true, true, true, true]),
        (r#""except_me":true"#, [false, true, true, true]),
        (r#""only_me":true"#, [true, false, false, false]),
        (r#""except":["ada"]"#, [false, false, true, true]),
        (r#""except":["ada","eve"]"#, [false, false, true, false]),
        (r#""except":["joe"]"#, [true, true, true, true]),
        (r#""only":["ada"]"#, [true, true, false, false]),
        (r#""only":["bob","joe"]"#, [false, false, true, false]),
        (r#""only":["joe"]"#, [false, false, false, false]),
        (r#""only":[]"#, [false, false, false, false]),
        (r#""only":["ada","bob"],"except":["bob"]"#, [true, true, false, false]),
        (r#""only":["ada"],"except_me":true"#, [false, true, false, false]),
        (r#""only":["eve"],"only_me":true"#, [true, false, false, true]),
    ];
    for (audience, hears) in rows {
        let reached = hears.iter().filter(|hears| **hears).count();
        let text = format!(r#"{{"method":"say","message":{{"rooms":["inn"],"text":"hi",{audience}}},"id":"say"}}"#);
        inside[0].send_text(&text).await;
        let answer = format!(r#"{{"id":"say","result":{reached}}}"#);
        for (client, hears) in inside.iter_mut().zip(hears) {
            let mut expected = if hears { vec![said("hi")] } else { Vec::new() };
            let mut heard = heard(client).await;
            if let Some(at) = heard.iter().position(|text| *text == answer) {
                heard.remove(at);
                expected.truncate(usize::from(hears));
            }
            assert_eq!(heard, expected, "{audience}");
        }
        assert_eq!(heard(&mut outside).await, [""; 0], "{audience}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_room_is_reached_from_anywhere() {
    let town = serve();
    let mut client = enter(&town, "ada").await;
    join(&mut client, "inn").await;
    // Sends from outside of any handler, and from another task.
    let hub = town.hub();
    assert_eq!(hub.room("inn").send(&Said { text: "1" }).unwrap(), 1);
    let from_a_task = tokio::spawn(async move { hub.room("inn").send(&Said { text: "2" }).unwrap() });
    assert_eq!(from_a_task.await.unwrap(), 1);
    // Sends from a thread outside of any runtime.
    let hub = town.hub();
    let from_a_thread = std::thread::spawn(move || hub.room("inn").send(&Said { text: "3" }).unwrap());
    assert_eq!(from_a_thread.join().unwrap(), 1);
    // Sends from a connection that is a member of no room.
    let mut stranger = enter(&town, "joe").await;
    let speech = serde_json::json!({ "rooms": ["inn", "moon"], "text": "4" });
    assert_eq!(stranger.request::<usize>("say", &speech).await.unwrap(), 1);
    assert_eq!(heard(&mut client).await, ["1", "2", "3", "4"].map(said));
    assert_eq!(heard(&mut stranger).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_rooms_of_a_connection_are_limited() {
    for (server, most) in [
        (Server::new(Town::default()), 32),
        (Server::new(Town::default()).max_rooms_per_connection(2), 2),
        (Server::new(Town::default()).max_rooms_per_connection(0), 0),
    ] {
        let town = testing::serve(server);
        let mut ada = enter(&town, "ada").await;
        for number in 0..most {
            join(&mut ada, &format!("room {number}")).await;
        }
        let one_more = serde_json::json!({ "room": "one more" });
        let failure = ada.request::<()>("join", &one_more).await.unwrap_err();
        assert_eq!(failure.code, "bad_request");
        assert!(failure.message.contains(&format!(" {most} ")), "{failure}");
        assert_eq!(rooms(&town.hub()).len(), most);
        if most > 0 {
            join(&mut ada, "room 0").await;
            assert!(leave(&mut ada, "room 1").await);
            join(&mut ada, "one more").await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_room_name_has_1_to_64_bytes_and_no_control_character() {
    let town = serve();
    let rows = [
        ("empty", "", false),
        ("one byte", "x", true),
        ("a space", " ", true),
        ("64 bytes", "0123456789012345678901234567890123456789012345678901234567890123", true),
        ("65 bytes", "01234567890123456789012345678901234567890123456789012345678901234", false),
        ("64 bytes in two-byte characters", "éééééééééééééééééééééééééééééééé", true),
        ("66 bytes in two-byte characters", "ééééééééééééééééééééééééééééééééé", false),
        ("a line feed", "a\nb", false),
        ("a null byte", "\0", false),
        ("a C1 control character", "\u{85}", false),
        ("a line separator", "a\u{2028}b", false),
        ("a mark of the writing direction", "a\u{200f}", false),
        ("the Arabic mark", "\u{61c}a", false),
        ("an override of the writing direction", "a\u{202e}b", false),
        ("an isolate", "\u{2066}a\u{2069}", false),
        ("a text from right to left", "חדר", true),
        ("joiners", "\u{645}\u{200c}\u{646}\u{200d}", true),
    ];
    every_row(rows.map(|(row, name, is_good)| (row, (name, is_good))), async |(name, is_good)| {
        let mut ada = enter(&town, "ada").await;
        let joined = ada.request::<()>("join", &serde_json::json!({ "room": name })).await;
        match joined {
            Ok(()) => assert!(is_good, "joined"),
            Err(failure) => {
                assert!(!is_good, "{failure}");
                assert_eq!(failure.code, "bad_request");
            }
        }
        // A send to a room with an invalid name reaches no member and does not fail.
        let speech = serde_json::json!({ "rooms": [name], "text": "hi" });
        assert_eq!(ada.request::<usize>("say", &speech).await.unwrap(), usize::from(is_good));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_has_left_its_rooms_when_its_close_hook_runs() {
    for how in ["closes", "is lost", "is kicked", "is drained"] {
        let town = serve();
        let (mut ada, mut bob) = (enter(&town, "ada").await, enter(&town, "bob").await);
        for room in ["inn", "mill"] {
            join(&mut ada, room).await;
            join_with_presence(&mut bob, room).await;
        }
        let connection = town.dispatcher().guests.lock().unwrap()[0].clone();
        match how {
            "closes" => ada.close(CloseCode::NORMAL, "").await,
            "is kicked" => {
                assert_eq!(town.hub().user("ada").kick(kengine::Close::new(CloseCode::KICKED, "")), 1);
                ada.closed().await.expect("a code");
            }
            "is lost" => drop(ada),
            _ => {
                drop(ada);
                drop(bob);
                town.drain().await;
                let farewells = town.dispatcher().farewells.lock().unwrap();
                assert_eq!(farewells.len(), 2);
                assert_eq!(farewells[0], ("ada".to_owned(), ["bob", "bob"].map(Into::into).to_vec()));
                assert_eq!(rooms(&town.hub()), []);
                continue;
            }
        }
        let mut heard = Vec::new();
        for _ in 0..4 {
            heard.push(bob.next_text().await.expect("a connection that lasts"));
        }
        // Both leaves come first, then both farewells: the hook still knows the rooms.
        heard[..2].sort_unstable();
        assert_eq!(heard[..2], ["inn", "mill"].map(|room| presence("left", room, "ada")), "{how}");
        assert_eq!(heard[2..], [said("farewell"), said("farewell")], "{how}");
        let farewells = town.dispatcher().farewells.lock().unwrap().clone();
        assert_eq!(farewells, [("ada".to_owned(), ["bob", "bob"].map(Into::into).to_vec())], "{how}");
        assert_eq!(rooms(&town.hub()), [("inn".to_owned(), 1), ("mill".to_owned(), 1)], "{how}");
        // A connection that has ended cannot join any room, even if a handle of it is kept.
        let hub = town.hub();
        let late = hub.room("inn").join(&connection).await;
        assert!(matches!(late, Err(JoinError::Closed)), "{how}: {late:?}");
        let late = hub.rooms("inn").fill(9, &connection).await;
        assert!(matches!(late, Err(JoinError::Closed)), "{how}: {late:?}");
        let late = hub.room("new").join(&connection).await;
        assert!(matches!(late, Err(JoinError::Closed)), "{how}: {late:?}");
        assert_eq!(rooms(&hub), [("inn".to_owned(), 1), ("mill".to_owned(), 1)], "{how}");
        assert!(connection.rooms().is_empty(), "{how}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panicking_session_still_leaves_its_rooms() {
    let town = serve();
    let player = Player::new("ada");
    let mut ada = town.connect_as(player.clone()).await.expect("a place");
    let mut bob = enter(&town, "bob").await;
    for room in ["inn", "mill"] {
        join(&mut ada, room).await;
        join_with_presence(&mut bob, room).await;
    }
    player.panics.store(true, Ordering::SeqCst);
    assert!(leave(&mut ada, "inn").await);
    drop(ada);
    for room in ["inn", "mill"] {
        let left = format!(r#"{{"method":"left","message":{{"room":"{room}","uid":"ada"}}}}"#);
        let mut heard = bob.next_text().await.expect("a connection that lasts");
        if heard == said("farewell") {
            heard = bob.next_text().await.expect("a connection that lasts");
        }
        assert_eq!(heard, left);
    }
    drop(bob);
    within("the end of all connections", town.emptied()).await;
    assert_eq!(rooms(&town.hub()), []);
    assert_eq!(town.hub().connections(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_room_that_is_filled_has_no_uninvited_members() {
    let town = serve();
    let hub = town.hub();
    let (mut ada, mut eve) = (enter(&town, "ada").await, enter(&town, "eve").await);
    let _bob = enter(&town, "bob").await;
    let guests = town.dispatcher().guests.lock().unwrap().clone();
    let first = hub.rooms("arena-").fill(1, &guests[0]).await.unwrap().name().to_owned();
    // Eve knows the name of the first room and guesses the next ones.
    let (stem, number) = first.rsplit_once('-').expect("a number at the end");
    let number: u64 = number.parse().expect("a number at the end");
    for next in 1..=3 {
        join(&mut eve, &format!("{stem}-{}", number + next)).await;
    }
    let second = hub.rooms("arena-").fill(1, &guests[2]).await.unwrap().name().to_owned();
    assert_eq!(hub.room(&*second).members().await.len(), 1, "an uninvited member is in {second}");
    // The second room is full, and a room that is empty has ended.
    assert!(leave(&mut ada, &first).await);
    assert_ne!(hub.rooms("arena-").fill(1, &guests[0]).await.unwrap().name(), second);
}
