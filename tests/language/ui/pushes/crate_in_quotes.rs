#[derive(serde::Serialize, kengine::Push)]
#[push(crate = "kengine")]
struct Position {
    player: u32,
    x: u32,
}

fn main() {}
