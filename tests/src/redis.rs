//! A Redis of its own for each test: the real server, on a free port, with nothing on disk.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use redis::aio::MultiplexedConnection;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use crate::within;

/// A `redis-server` that ends with its test.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    child: Child,
}

impl RedisServer {
    /// Starts one, and waits until it answers.
    pub async fn start() -> Self {
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        Self::start_at(port).await
    }

    /// Starts one at this port.
    pub async fn start_at(port: u16) -> Self {
        let server = Self { port, child: spawn(port) };
        server.answers().await;
        server
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A connection to look into it.
    pub async fn connection(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url()).expect("a URL");
        within("a connection to Redis", client.get_multiplexed_async_connection()).await.expect("it listens")
    }

    /// Kills it, as `kill -9` does, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again, at the same port and empty.
    pub async fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.port);
        self.answers().await;
    }

    /// Stops it where it is; it holds its sockets and answers nothing.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process");
        kill_process(pid, signal).expect("it runs");
    }

    async fn answers(&self) {
        let answers = async {
            let client = redis::Client::open(self.url()).expect("a URL");
            loop {
                if let Ok(mut connection) = client.get_multiplexed_async_connection().await
                    && redis::cmd("PING").exec_async(&mut connection).await.is_ok()
                {
                    return;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        within("an answer of Redis", answers).await;
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(port: u16) -> Child {
    install();
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(["--dir", &std::env::temp_dir().to_string_lossy(), "--loglevel", "warning"])
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server starts")
}

/// Installs it where it is missing and can be: once a process.
fn install() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    let is_there = || Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_ok();
    INSTALLED.get_or_init(|| {
        if !is_there() {
            let install = "apt-get update -qq && apt-get install -y -qq redis-server";
            let _ = Command::new("sh").args(["-c", install]).stdout(Stdio::null()).status();
        }
        assert!(
            is_there(),
            "these tests need redis-server: install Redis, as by `apt-get install redis-server`"
        );
    });
}
