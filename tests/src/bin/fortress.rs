//! A node that hostile clients attack: `fortress <address> <largest message in bytes> [<redis>]`. With a Redis, it is a
//! node of a cluster.

use std::env;

use kengine::cluster::Redis;
use kengine_tests::Fortress;

#[tokio::main]
async fn main() -> Result<(), kengine::StartError> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let (address, largest, redis) = match &arguments[..] {
        [address, largest] => (address, largest, None),
        [address, largest, redis] => (address, largest, Some(redis)),
        _ => panic!("fortress <address> <largest message> [<redis>]"),
    };
    let mut server = Fortress::server().max_message_size(largest.parse().expect("a number of bytes"));
    if let Some(redis) = redis {
        server = server.cluster(Redis::new(redis));
    }
    server.bind(address.clone()).await?.serve().await
}
