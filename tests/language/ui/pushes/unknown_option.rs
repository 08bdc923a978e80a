#[derive(serde::Serialize, kengine::Push)]
#[push("position", lates, x = 1)]
struct Position {
    player: u32,
    x: f32,
}

fn main() {}
