#[derive(serde::Serialize, kengine::Push)]
#[push(latest(player), latest)]
struct Position {
    player: u32,
    x: f32,
}

fn main() {}
