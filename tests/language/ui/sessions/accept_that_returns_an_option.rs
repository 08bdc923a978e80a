use kengine::{Handshake, Session};

struct Player;

impl Session for Player {}

struct Game;

#[kengine::dispatcher]
impl Game {
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Option<Player> {
        handshake.query("ticket").map(|_| Player)
    }

    #[route]
    async fn step(&self) {}
}

fn main() {}
