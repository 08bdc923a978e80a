#[derive(serde::Serialize, kengine::Push)]
#[push("round", latest(missing))]
enum Round {
    Waiting { missing: u8 },
    Playing,
}

fn main() {}
