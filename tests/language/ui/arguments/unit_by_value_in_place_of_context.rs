struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn ahead(&self, _: (), _: String) {}

    #[open]
    async fn greet(&self, _: ()) {}
}

fn main() {}
