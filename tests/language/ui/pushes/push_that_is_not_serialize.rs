#[derive(kengine::Push)]
#[push("position", latest(player))]
struct Position {
    player: u32,
}

fn main() {}
