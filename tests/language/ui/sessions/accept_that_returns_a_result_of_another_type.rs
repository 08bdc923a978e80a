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
    #[route]
    async fn step(&self) {}

    #[accept]
    async fn enter(&self) -> Result<Bad, Refusal> {
        Ok(Bad)
    }
}

fn main() {}
