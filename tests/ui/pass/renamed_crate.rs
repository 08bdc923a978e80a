mod net {
    pub use kengine as engine;
}

struct Game;

#[net::engine::dispatcher(crate = crate::net::engine)]
impl Game {
    #[route]
    async fn plain(&self) {}

    #[crate::net::engine::route]
    async fn by_path(&self, _: u8) {}
}

struct Other;

#[kengine::dispatcher(crate = net::engine)]
impl Other {
    #[kengine::route("by path")]
    async fn by_path(&self, _: u8) {}

    #[net::engine::heartbeat]
    async fn alive(&self) -> kengine::Liveness {
        kengine::Liveness::Alive
    }
}

#[derive(serde::Serialize, net::engine::Push)]
#[push("moved", latest(player), crate = crate::net::engine)]
struct Moved<T> {
    player: T,
}

fn main() {}
