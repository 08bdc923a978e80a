struct Game;

#[kengine::dispatcher(keys = "method")]
impl Game {
    #[route("chat")]
    fn chat(&self) {}

    #[route("")]
    async fn nameless(&self) {}

    #[route("kick")]
    async fn kick(&mut self) {}

    #[route(kick)]
    async fn unquoted(&self, _: u8) {}
}

fn main() {
    serve(Game);
}

fn serve<D: kengine::Dispatcher>(_: D) {}
