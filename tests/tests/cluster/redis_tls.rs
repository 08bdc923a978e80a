//! Redis with TLS: a node that trusts its certificate joins, and one that does not stays out.

use std::{process::Command, time::Duration};

use kengine_tests::{Certificate, NodeProcess, RedisServer, free_address};

const LEASE: Duration = Duration::from_secs(6);

#[tokio::test]
async fn a_node_joins_under_tls_if_it_trusts_the_certificate() {
    let certificate = Certificate::new();
    let [key, cert] = ["key.pem", "cert.pem"].map(|file| certificate.path(file));
    let tls = free_address().port();
    let port = tls.to_string();
    let redis = RedisServer::start_with(&[
        "--tls-port",
        &port,
        "--tls-key-file",
        &key,
        "--tls-cert-file",
        &cert,
        "--tls-ca-cert-file",
        &cert,
        "--tls-auth-clients",
        "no",
    ])
    .await;
    let mut directory = redis.directory().await;
    let url = format!("rediss://localhost:{tls}/");
    let program = env!("CARGO_BIN_EXE_node");

    let stranger = NodeProcess::start(program, free_address(), &url, LEASE).await;
    let mut trusting = Command::new(program);
    trusting.env("SSL_CERT_FILE", &cert);
    let node = NodeProcess::start_from(trusting, free_address(), &url, LEASE).await;
    directory.count_is(node.address(), Some(0)).await;
    assert_eq!(directory.listed().await, [node.address().to_string()]);
    assert_eq!(directory.count(stranger.address()).await, None);
}
