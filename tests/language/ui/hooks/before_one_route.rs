struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn say(&self) {}

    #[before("say")]
    async fn guard(&self) {}
}

fn main() {}
