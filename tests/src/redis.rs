//! The real Redis, one for each test, on a free port, with nothing on disk.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use kengine::{Dispatcher, Server};
use redis::{AsyncCommands, AsyncConnectionConfig, aio::MultiplexedConnection};
use rustix::process::Signal;
use tokio::time::sleep;

use crate::{LIMIT, NodeProcess, TestServer, free_address, install::install, signal, within};

/// A `redis-server` that is killed when this is dropped.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    arguments: Vec<String>,
    child: Child,
}

impl RedisServer {
    /// Starts a server and waits until it answers.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts a server with these arguments.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let port = free_address().port();
        let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
        let mut server = Self { port, child: spawn(port, &arguments), arguments };
        server.answers().await;
        server
    }

    /// Returns its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Returns its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Opens a connection.
    pub async fn connection(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url()).expect("a URL");
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(LIMIT));
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        within("a connection to Redis", connecting).await.expect("it listens")
    }

    /// Returns a view of the directory.
    pub async fn directory(&self) -> Directory {
        Directory { redis: self.connection().await }
    }

    /// Starts a node and waits until it is in this directory.
    pub async fn serve<D: Dispatcher>(&self, server: Server<D>) -> TestServer {
        let node = TestServer::start(server).await;
        self.directory().await.count_is(node.address(), Some(0)).await;
        node
    }

    /// Starts a node of the [`Town`](crate::Town) in its own process, and waits until it is in this directory. The
    /// program is `env!("CARGO_BIN_EXE_node")`.
    pub async fn spawn_node(&self, program: &str, lease: Duration) -> NodeProcess {
        let node = NodeProcess::start(program, free_address(), &self.url(), lease).await;
        self.directory().await.count_is(node.address(), Some(0)).await;
        node
    }

    /// Returns a section of `INFO`.
    pub async fn info(&self, section: &str) -> String {
        let info = redis::cmd("INFO").arg(section).query_async(&mut self.connection().await).await;
        info.expect("an answer")
    }

    /// Returns how many times a command was run.
    pub async fn calls(&self, command: &str) -> usize {
        let stats = self.info("commandstats").await;
        let calls = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        calls.and_then(|calls| calls.split(',').next()).map_or(0, |calls| calls.parse().expect("a number"))
    }

    /// Waits until this script has been run, and its result is sent.
    pub async fn has_run(&self, script: &str) {
        let mut redis = self.connection().await;
        let mut hash = redis::cmd("EVAL");
        hash.arg("return redis.sha1hex(ARGV[1])").arg(0).arg(script);
        let hash: String = hash.query_async(&mut redis).await.expect("a hash");
        until("a script to run", async || {
            let exists = redis::cmd("SCRIPT").arg("EXISTS").arg(&hash).query_async(&mut redis).await;
            let [exists]: [bool; 1] = exists.expect("an answer");
            exists.then_some(())
        })
        .await;
        // Redis sends what it has to send before it reads further commands.
        redis::cmd("PING").exec_async(&mut redis).await.expect("an answer");
    }

    /// Waits until a gateway has read the list of nodes for the first time.
    pub async fn nodes_are_read(&self) {
        self.has_run(include_str!("../../kengine/openresty/list.lua")).await;
    }

    /// Kills it, as `kill -9` does, and waits until it has ended.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again, at the same port and with the same arguments: empty, unless its folder holds a snapshot.
    pub async fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.port, &self.arguments);
        self.answers().await;
    }

    /// Freezes the process: its sockets stay open, but it answers nothing.
    pub fn freeze(&self) {
        signal(self.child.id(), Signal::STOP);
    }

    /// Lets the process go on.
    pub fn thaw(&self) {
        signal(self.child.id(), Signal::CONT);
    }

    /// Waits until this process answers, and not another server at its port.
    async fn answers(&mut self) {
        let process = format!("process_id:{}\r\n", self.child.id());
        let client = redis::Client::open(self.url()).expect("a URL");
        let answers = async {
            loop {
                let ended = self.child.try_wait().expect("a process of ours");
                assert!(ended.is_none(), "redis-server ended: {ended:?}");
                if let Ok(mut connection) = client.get_multiplexed_async_connection().await {
                    let info = redis::cmd("INFO").arg("server").query_async::<String>(&mut connection).await;
                    if info.is_ok_and(|info| info.contains(&process)) {
                        return;
                    }
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        within("an answer of Redis", answers).await;
    }
}

/// A view of what the directory holds about nodes and users.
#[derive(Clone, Debug)]
pub struct Directory {
    /// A connection for any other command.
    pub redis: MultiplexedConnection,
}

impl Directory {
    /// Returns the nodes that gateways choose from.
    pub async fn listed(&mut self) -> Vec<String> {
        self.redis.lrange("NODE_HOST_LIST", 0, -1).await.expect("a list")
    }

    /// Returns the counter of a node.
    pub async fn count(&mut self, address: impl ToString) -> Option<usize> {
        self.redis.get(address.to_string()).await.expect("a counter")
    }

    /// Waits until the counter of a node has this value.
    pub async fn count_is(&mut self, address: impl ToString, count: Option<usize>) {
        until("a count", async || (self.count(address.to_string()).await == count).then_some(())).await;
    }

    /// Returns the load of a node: its connections and the reserved seats.
    pub async fn load(&mut self, address: impl ToString) -> Option<usize> {
        self.redis.zscore("{kengine}:load", address.to_string()).await.expect("a sorted set")
    }

    /// Returns a field of a node's hash.
    pub async fn node(&mut self, address: impl ToString, field: &str) -> Option<String> {
        let key = format!("{{kengine}}:node:{}", address.to_string());
        self.redis.hget(key, field).await.expect("a hash")
    }

    /// Waits until a node has renewed its lease `times` more times, after one that may have been under way.
    pub async fn heard_of(&mut self, address: impl ToString, times: usize) {
        let address = address.to_string();
        for _ in 0..=times {
            let before = self.lease(&address).await;
            until("a beat", async || (self.lease(&address).await != before).then_some(())).await;
        }
    }

    /// Waits until the lease of a node is running, or has expired.
    pub async fn lives(&mut self, address: impl ToString, lives: bool) {
        let address = address.to_string();
        until("a lease", async || {
            let time = redis::cmd("TIME").query_async(&mut self.redis).await;
            let (seconds, micros): (i64, i64) = time.expect("a clock");
            let now = seconds * 1000 + micros / 1000;
            let expiry = self.lease(&address).await;
            (expiry.is_some_and(|expiry| expiry > now) == lives).then_some(())
        })
        .await;
    }

    async fn lease(&mut self, address: &str) -> Option<i64> {
        self.redis.hget("{kengine}:lease", address).await.expect("a hash")
    }

    /// Returns the address of the node that a user is on.
    pub async fn user(&mut self, uid: &str) -> Option<String> {
        self.redis.hget(format!("kengine:user:{uid}"), "address").await.expect("a hash")
    }

    /// Waits until a user is on this node, or on none.
    pub async fn user_is(&mut self, uid: &str, address: Option<String>) {
        until("a claim", async || (self.user(uid).await == address).then_some(())).await;
    }

    /// Returns every key.
    pub async fn keys(&mut self) -> Vec<String> {
        self.redis.keys("*").await.expect("keys")
    }
}

/// Calls `look` again and again until it returns a value.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let seen = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            sleep(Duration::from_millis(2)).await;
        }
    };
    within(what, seen).await
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(port: u16, arguments: &[String]) -> Child {
    install("redis-server", "redis-server --version", "redis-server");
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(["--dir", &std::env::temp_dir().to_string_lossy(), "--loglevel", "warning"])
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server starts")
}
