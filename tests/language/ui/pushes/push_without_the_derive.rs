use kengine::{Connection, Hub};

#[derive(serde::Serialize)]
struct Said;

struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn say(&self, connection: &Connection) {
        let _ = connection.send(&Said);
    }

    #[route]
    async fn shout(&self, hub: &Hub) {
        let _ = hub.all().send(&Said);
    }
}

fn main() {}
