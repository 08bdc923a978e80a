#[derive(kengine::Dispatcher)]
struct App;

fn main() {
    // No further errors are reported.
    let _ = kengine::Server::new(App);
}
