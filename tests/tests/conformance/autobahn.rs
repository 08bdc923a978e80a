//! Autobahn's test suite, which is the field's reference for RFC 6455. `tests/autobahn/run` runs it.
//!
//! Its groups 12 and 13 test compression, which kengine does not offer, so they are not run.

use std::{
    io::{ErrorKind, Write, stderr},
    net::SocketAddr,
    time::Duration,
};

use kengine::{Server, cluster::Redis};
use kengine_tests::{Echo, RedisServer, TestGateway, TestServer, Town};
use tokio::process::Command;

use crate::output_within;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/autobahn/run");
const CASES: [&str; 8] = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"];
/// The cases with large messages, which nginx passes on as they are.
const LARGE: &str = "9.*";
/// The largest message of the cases 9.*.
const LARGEST: usize = 16 * 1024 * 1024;
/// How long the installation and all cases may take. They take about two minutes.
const LIMIT: Duration = Duration::from_secs(1200);
/// The exit code of a script that could not install the suite.
const SKIPPED: i32 = 77;

/// Runs the suite against the echo server at this address. The script prints the figures, and why a case failed.
async fn is_passed(name: &str, address: SocketAddr, cases: &[&str]) {
    let mut script = Command::new("python3");
    script.args([SCRIPT, env!("CARGO_TARGET_TMPDIR"), name, &format!("ws://{address}/ws")]).args(cases);
    let ran = match output_within(LIMIT, &mut script).await {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // The test harness does not capture this, unlike the output of `eprintln!`.
            let _ = writeln!(stderr(), "Autobahn's test suite was not run: Python 3 is missing");
            return;
        }
        ran => ran.expect("Python 3 starts").expect("the suite ends in time"),
    };
    let is_good = ran.status.success() || ran.status.code() == Some(SKIPPED);
    assert!(is_good, "the suite found faults; it printed them");
}

#[tokio::test]
async fn the_server_passes_autobahn() {
    let server = TestServer::start(Server::new(Echo).max_message_size(LARGEST)).await;
    is_passed("direct", server.address(), &[&CASES[..], &[LARGE]].concat()).await;
    server.stop().await;
}

#[tokio::test]
async fn the_gateway_passes_autobahn() {
    let redis = RedisServer::start().await;
    let node = Server::new(Echo).max_message_size(LARGEST).cluster(Redis::new(redis.url()));
    let node = redis.serve(node.idle_timeout(Town::IDLE_TIME)).await;
    let gateway = TestGateway::start(&redis.url()).await;
    redis.nodes_are_read().await;
    is_passed("gateway", gateway.address(), &CASES).await;
    drop(gateway);
    node.stop().await;
}
