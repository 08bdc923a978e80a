trait Chat {}

#[kengine::dispatcher]
impl dyn Chat {
    #[route]
    async fn chat(&self) {}
}

fn main() {}
