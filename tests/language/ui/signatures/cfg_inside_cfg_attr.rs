struct Game;

#[kengine::dispatcher]
impl Game {
    #[cfg_attr(all(), cfg(any()))]
    #[route]
    async fn gone(&self) {}

    #[route]
    async fn ping(&self, #[cfg_attr(all(), cfg_attr(all(), cfg(any())))] connection: &kengine::Connection) {}
}

fn main() {}
