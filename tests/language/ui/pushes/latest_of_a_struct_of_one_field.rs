#[derive(serde::Serialize, kengine::Push)]
#[push(latest(player))]
struct Position(u32);

fn main() {}
