#[derive(serde::Serialize, kengine::Push)]
#[push("position")]
struct Position {
    #[push(latest)]
    player: u32,
}

fn main() {}
