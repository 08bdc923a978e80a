#[derive(serde::Serialize, kengine::Push)]
#[push = "position"]
struct Position {
    player: u32,
    x: f32,
}

fn main() {}
