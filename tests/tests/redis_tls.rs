//! Redis under TLS: a node that trusts its certificate joins, and one that does not stays out.

use std::{path::PathBuf, process::Command, time::Duration};

use kengine_tests::{NodeProcess, RedisServer, free_address};

const LEASE: Duration = Duration::from_secs(6);

/// A certificate of this machine's own, made by openssl, in a folder that is removed with it.
struct Certificate(PathBuf);

impl Certificate {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("kengine-tls-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let certificate = Self(folder);
        let arguments = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost";
        let made = Command::new("openssl")
            .args(arguments.split(' '))
            .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-keyout", &certificate.path("key.pem"), "-out", &certificate.path("cert.pem")])
            .output()
            .expect("this test needs openssl: install it, as by `apt-get install openssl`");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        certificate
    }

    fn path(&self, file: &str) -> String {
        self.0.join(file).display().to_string()
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        // What is left is the system's to clean.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

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
