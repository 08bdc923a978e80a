#[derive(serde::Serialize, kengine::Push)]
#[push("position", "place")]
struct Position {
    player: u32,
    x: f32,
}

fn main() {}
