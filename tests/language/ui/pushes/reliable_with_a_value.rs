#[derive(serde::Serialize, kengine::Push)]
#[push(reliable = true)]
struct Position {
    player: u32,
    x: u32,
}

fn main() {}
