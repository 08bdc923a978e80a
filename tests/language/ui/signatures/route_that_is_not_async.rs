struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    fn chat(&self) {}
}

fn main() {}
