#[derive(serde::Serialize, kengine::Push)]
#[push(latest("player"))]
struct Position {
    player: u32,
    x: u32,
}

fn main() {}
