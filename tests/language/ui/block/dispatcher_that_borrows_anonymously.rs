struct World<'w>(&'w str);

#[kengine::dispatcher]
impl World<'_> {
    #[route]
    async fn chat(&self) {}
}

fn main() {}
