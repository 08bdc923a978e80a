#[derive(serde::Serialize, kengine::Push)]
#[push(latest(player, plyer))]
struct Position {
    player: u32,
    x: f32,
}

fn main() {}
