#[derive(serde::Serialize, kengine::Push)]
#[push("position" latest)]
struct Position {
    player: u32,
    x: u32,
}

fn main() {}
