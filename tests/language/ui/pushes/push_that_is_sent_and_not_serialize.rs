#[derive(kengine::Push)]
struct Welcome;

fn greet(connection: &kengine::Connection) {
    let _ = connection.send(&Welcome);
}

fn main() {}
