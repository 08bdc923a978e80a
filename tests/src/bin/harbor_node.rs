//! A node that hands its sessions over when it drains: `harbor_node <address> <redis>`. Its version is in
//! `NODE_VERSION`.

use std::env;

use kengine::cluster::Redis;
use kengine_tests::{Harbor, LIMIT, without_rates};

#[tokio::main]
async fn main() -> Result<(), kengine::StartError> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [address, redis] = &arguments[..] else { panic!("harbor_node <address> <redis>") };
    let server = without_rates(Harbor::default().server()).hand_over().handshake_timeout(LIMIT * 2);
    let server = server.version(env::var("NODE_VERSION").unwrap_or_default()).cluster(Redis::new(redis));
    server.bind(address.clone()).await?.serve().await
}
