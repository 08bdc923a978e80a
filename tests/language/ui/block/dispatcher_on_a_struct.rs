struct Game;

#[kengine::dispatcher]
#[derive(Debug)]
pub struct Other {
    level: u8,
}

fn main() {}
