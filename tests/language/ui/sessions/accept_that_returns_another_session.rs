use kengine::{Refusal, Session};

struct Player;

impl Session for Player {}

struct Account;

impl Session for Account {}

struct Game;

#[kengine::dispatcher(session = Player)]
impl Game {
    #[accept]
    async fn enter(&self) -> Result<Account, Refusal> {
        Ok(Account)
    }

    #[route]
    async fn step(&self, _: &Player) {}
}

struct Trade;

#[kengine::dispatcher(session = Player)]
impl Trade {
    #[accept]
    async fn enter(&self) -> Account {
        Account
    }
}

fn main() {}
