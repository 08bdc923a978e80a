struct Game;

#[kengine::dispatcher]
impl Game {
    #[route("move", rate = "99999999999999999999/s")]
    async fn step(&self) {}
}

fn main() {}
