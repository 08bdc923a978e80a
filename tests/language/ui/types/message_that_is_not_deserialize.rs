struct Game;

struct Bad;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn bad(&self, _: Bad) {}

    #[route]
    async fn nested(&self, _: Vec<Bad>) {}
}

fn main() {}
