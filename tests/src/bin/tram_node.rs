//! A node whose sessions can be resumed: `tram_node <address> <redis> <lease> <within>`, both times in milliseconds.

use std::{env, time::Duration};

use kengine::{Server, cluster::Redis};
use kengine_tests::Tram;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), kengine::StartError> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [address, redis, lease, within] = &arguments[..] else {
        panic!("tram_node <address> <redis> <lease> <within>")
    };
    let millis = |text: &str| Duration::from_millis(text.parse().expect("milliseconds"));
    let server = Server::new(Tram::default()).cluster(Redis::new(redis).lease(millis(lease)));
    server.resume_within(millis(within)).bind(address.clone()).await?.serve().await
}
