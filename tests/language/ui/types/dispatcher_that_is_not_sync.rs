struct World(std::cell::Cell<u8>);

#[kengine::dispatcher]
impl World {
    #[route]
    async fn chat(&self) {}
}

fn main() {}
