#[derive(serde::Serialize, kengine::Push)]
#[push(7, latest)]
struct Position {
    player: u32,
    x: f32,
}

fn main() {}
