//! A node that tests may kill: `node <address> <redis> <lease in milliseconds>`. Its version is in `NODE_VERSION`.

use std::{env, time::Duration};

use kengine_tests::{LIMIT, Town};

#[tokio::main]
async fn main() -> Result<(), kengine::StartError> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [address, redis, lease] = &arguments[..] else { panic!("node <address> <redis> <lease>") };
    let lease = Duration::from_millis(lease.parse().expect("milliseconds"));
    // Nothing that a test waits for may happen because a handshake ends by itself.
    let node = Town::node(redis, lease).handshake_timeout(LIMIT * 2);
    node.version(env::var("NODE_VERSION").unwrap_or_default()).bind(address.clone()).await?.serve().await
}
