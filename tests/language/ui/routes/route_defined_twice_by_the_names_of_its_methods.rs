struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn r#move(&self) {}

    #[route("move")]
    async fn walk(&self) {}

    #[route("\u{6d}ove")]
    async fn run(&self) {}
}

fn main() {}
