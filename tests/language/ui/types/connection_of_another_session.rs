use kengine::Connection;

struct Game;

struct Account;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn chat(&self, _: &Connection<Account>, _: String) {}
}

fn main() {}
