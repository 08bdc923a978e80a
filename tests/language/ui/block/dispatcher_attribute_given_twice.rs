struct Game;

#[kengine::dispatcher]
impl kengine::Dispatcher for Game {
    type Session = ();
}

fn main() {}
