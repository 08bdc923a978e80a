struct Game;

fn main() {
    serve(Game);
}

fn serve<D: kengine::Dispatcher>(_: D) {}
