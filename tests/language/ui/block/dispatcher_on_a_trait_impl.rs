struct Game;

trait Chat {
    async fn chat(&self);
}

#[kengine::dispatcher]
impl Chat for Game {
    #[route]
    async fn chat(&self) {}
}

fn main() {
    serve(Game);
}

fn serve<D: kengine::Dispatcher>(_: D) {}
