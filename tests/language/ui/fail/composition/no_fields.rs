#[derive(kengine::Dispatcher)]
struct App;

fn main() {
    // Nothing else turns red.
    let _ = kengine::Server::new(App);
}
