#[derive(serde::Serialize, kengine::Push)]
#[push(latest(player))]
struct Position;

fn main() {}
