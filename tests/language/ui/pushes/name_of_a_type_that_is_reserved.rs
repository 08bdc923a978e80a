#[derive(serde::Serialize, kengine::Push)]
struct Left {
    player: u32,
}

fn main() {}
