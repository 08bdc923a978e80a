struct Game;

struct Account;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn last(&self, _: &Account) {}

    #[route]
    async fn leading(&self, _: &Account, _: String) {}
}

fn main() {}
