struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async unsafe fn chat(&self) {}
}

fn main() {}
