//! Every form of `#[derive(Push)]`.
#![deny(warnings, clippy::all, clippy::pedantic)]

use kengine::{Connection, Push, push::Delivery};
use serde::Serialize;

#[derive(Serialize, Push)]
struct PlayerJoined {
    player: u32,
}

#[derive(Serialize, Push)]
#[push("position", latest(player, r#type))]
struct Position<'a> {
    player: u32,
    r#type: &'a str,
    x: f32,
}

#[derive(Serialize, Push)]
#[push(latest)]
struct Score(u32);

#[derive(Serialize, Push)]
#[push(latest(1, 0), "pair")]
struct Pair(u32, u32, f32);

#[derive(Serialize, Push)]
#[push]
struct Started;

#[derive(Serialize, Push)]
#[push(reliable)]
struct Nothing {}

#[derive(Serialize, Push)]
#[push("round", latest)]
enum Round {
    Waiting { missing: u8 },
    Playing,
}

#[derive(Serialize, Push)]
#[push("generic", latest(key, keys))]
struct Generic<'a, K, T: ?Sized, const N: usize>
where
    K: Copy,
{
    key: K,
    keys: Option<[K; 2]>,
    count: [u8; 1],
    value: &'a T,
}

#[derive(Serialize, Push)]
#[push("by text", latest(text))]
struct ByText {
    text: String,
}

#[derive(Serialize, Push)]
#[push("cell", latest(x, y))]
struct Cell {
    x: f32,
    y: f64,
}

fn key(push: &(impl Push + ?Sized)) -> String {
    serde_json::to_string(&push.key()).expect("a key")
}

fn send<K: Copy + Serialize, T: Serialize + ?Sized>(connection: &Connection, generic: &Generic<'_, K, T, 3>) {
    let _ = connection.send(generic);
}

#[test]
fn the_forms_do_what_they_say() {
    let _ = send::<u8, str>;
    assert_eq!(PlayerJoined::NAME, "player_joined");
    assert_eq!(PlayerJoined::DELIVERY, Delivery::Reliable);
    assert_eq!(Position::NAME, "position");
    assert_eq!(Position::DELIVERY, Delivery::Latest);
    assert_eq!((Score::NAME, Score::DELIVERY), ("score", Delivery::Latest));
    assert_eq!((Pair::NAME, Started::NAME, Nothing::NAME), ("pair", "started", "nothing"));
    assert_eq!(Round::DELIVERY, Delivery::Latest);
    assert_eq!(key(&Round::Playing), key(&Round::Waiting { missing: 1 }));

    let position = |player, x| Position { player, r#type: "knight", x };
    assert_eq!(key(&position(1, 1.0)), key(&position(1, 2.0)));
    assert_ne!(key(&position(1, 1.0)), key(&position(2, 1.0)));
    assert_ne!(key(&Position { player: 1, r#type: "king", x: 1.0 }), key(&position(1, 1.0)));
    assert_eq!(key(&Pair(1, 2, 0.0)), key(&Pair(1, 2, 1.0)));
    assert_ne!(key(&Pair(1, 2, 0.0)), key(&Pair(2, 1, 0.0)));
    assert_eq!(key(&Score(1)), key(&Score(2)));
    assert_ne!(key(&ByText { text: "a".into() }), key(&ByText { text: "b".into() }));
    let generic = |key| Generic::<u8, str, 0> { key, keys: None, count: [0], value: "" };
    assert_ne!(key(&generic(1)), key(&generic(2)));
    assert_ne!(key(&Cell { x: 0.5, y: 1.0 }), key(&Cell { x: 1.0, y: 0.5 }));
}
