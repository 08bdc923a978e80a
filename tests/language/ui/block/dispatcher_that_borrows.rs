struct World<'w>(&'w str);

#[kengine::dispatcher]
impl<'w> World<'w> {
    #[route]
    async fn chat(&self) {}
}

fn main() {
    serve(World("static"));
}

fn serve<D: kengine::Dispatcher>(_: D) {}
