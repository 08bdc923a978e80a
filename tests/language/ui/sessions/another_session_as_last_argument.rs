#![allow(unused_imports)]

use kengine::{Handshake, Refusal, Session};

struct Player;

impl Session for Player {}

struct Account;

impl Session for Account {}

struct Bad;

struct Game;

#[kengine::dispatcher]
impl Game {
    #[accept]
    async fn enter(&self, _: &Handshake) -> Result<Player, Refusal> {
        Ok(Player)
    }

    #[route]
    async fn step(&self, _: &Account) {}
}

fn main() {}
