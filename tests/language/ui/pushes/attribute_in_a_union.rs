#[derive(kengine::Push)]
union Position {
    #[push(latest)]
    player: u32,
}

fn main() {}
