#[derive(kengine::Push)]
struct Joined;

fn greet(connection: &kengine::Connection) {
    let _ = connection.send(&Joined);
}

fn main() {}
