#[derive(serde::Serialize, kengine::Push)]
#[push("joined")]
struct Arrived {
    player: u32,
}

fn main() {}
