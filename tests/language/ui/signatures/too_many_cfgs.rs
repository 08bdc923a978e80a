struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn ping(
        &self,
        #[cfg(unix)] _: (),
        #[cfg(windows)] _: (),
        #[cfg(test)] _: (),
        #[cfg(debug_assertions)] _: (),
        #[cfg(target_os = "linux")] _: (),
        #[cfg(target_os = "macos")] _: (),
        #[cfg(target_os = "android")] _: (),
    ) {
    }
}

fn main() {}
