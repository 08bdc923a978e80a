//! A node whose rooms have game loops: `loop_node <address> <redis> <lease in milliseconds>`. The loops log to the file
//! that `KENGINE_LOOP_LOG` names.

use std::{env, time::Duration};

use kengine::{Server, cluster::Redis};
use kengine_tests::{LIMIT, Rally, Town, without_rates};

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), kengine::StartError> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [address, redis, lease] = &arguments[..] else { panic!("loop_node <address> <redis> <lease>") };
    let lease = Duration::from_millis(lease.parse().expect("milliseconds"));
    Rally::log_to(env::var("KENGINE_LOOP_LOG").expect("a path"));
    let server: Server<Rally> = without_rates(Rally).cluster(Redis::new(redis).lease(lease));
    server.idle_timeout(Town::IDLE_TIME).handshake_timeout(LIMIT * 2).bind(address.clone()).await?.serve().await
}
