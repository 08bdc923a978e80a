//! Certificates for TLS.

use std::process::Command;

use crate::{Folder, install::install};

/// A self-signed certificate for this machine, made by openssl, in a folder that is removed on drop.
#[derive(Debug)]
pub struct Certificate(Folder);

#[allow(clippy::new_without_default, reason = "it is not empty")]
impl Certificate {
    /// Creates a certificate.
    pub fn new() -> Self {
        install("openssl", "openssl version", "openssl");
        let certificate = Self(Folder::new());
        let arguments = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost";
        let made = Command::new("openssl")
            .args(arguments.split(' '))
            .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-keyout", &certificate.path("key.pem"), "-out", &certificate.path("cert.pem")])
            .output()
            .expect("openssl starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        certificate
    }

    /// Returns the path of `cert.pem` or `key.pem`.
    pub fn path(&self, file: &str) -> String {
        self.0.join(file).display().to_string()
    }
}
