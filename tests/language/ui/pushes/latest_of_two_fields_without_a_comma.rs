#[derive(serde::Serialize, kengine::Push)]
#[push(latest(player x))]
struct Position {
    player: u32,
    x: u32,
}

fn main() {}
