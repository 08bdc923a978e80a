//! A node of the chaos test: `chaos_node <address> <address for gateways> <redis> <lease> <idle timeout>`, both times
//! in milliseconds. It logs to the standard error, reports on itself, and ends with its standard input, so that it does
//! not outlive the test.

use std::{env, io::stderr, process::exit, thread, time::Duration};

use kengine::{Server, StartError, cluster::Redis};
use kengine_tests::{NodeReport, Town};
use tokio::runtime::Handle;
use tracing::Level;

/// How long players and handlers have when a node drains.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), StartError> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [address, advertised, redis, lease, idle] = &arguments[..] else { panic!("five arguments: {arguments:?}") };
    let millis = |text: &str| Duration::from_millis(text.parse().expect("milliseconds"));
    tracing_subscriber::fmt().with_ansi(false).with_max_level(Level::INFO).with_writer(stderr).init();
    let redis = Redis::new(redis).advertise(advertised).lease(millis(lease));
    let server = Server::new(Town).cluster(redis).idle_timeout(millis(idle)).drain_timeout(DRAIN_TIMEOUT);
    let bound = server.bind(address.clone()).await?;
    let (hub, runtime) = (bound.hub(), Handle::current());
    thread::spawn(move || {
        NodeReport::print_when_asked(&hub, &runtime);
        exit(1);
    });
    bound.serve().await
}
