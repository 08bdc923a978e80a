struct Game;

#[kengine::dispatcher]
impl Game {
    fn helper(&self) {}
}

fn main() {
    serve(Game);
}

fn serve<D: kengine::Dispatcher>(_: D) {}
