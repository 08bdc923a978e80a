#[derive(kengine::Push)]
union Position {
    x: f32,
    y: u32,
}

fn main() {}
