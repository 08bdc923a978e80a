#![allow(unused_imports)]

use kengine::{Handshake, Refusal, Session};

struct Player;

impl Session for Player {}

struct Account;

impl Session for Account {}

struct Bad;

struct Game;

#[kengine::dispatcher(session = Bad)]
impl Game {
    #[route]
    async fn step(&self) {}
}

fn main() {}
