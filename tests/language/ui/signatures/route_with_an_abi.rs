struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async extern "C" fn chat(&self) {}
}

fn main() {}
