//! Nodes in processes of their own, and what they say about themselves.

use std::{net::SocketAddr, process::Command, time::Duration};

use kengine_tests::{ClientFrame, Held, NodeProcess, RedisServer, Told, Upgrade, free_address};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// So long that no node on a busy machine loses its lease.
const LEASE: Duration = Duration::from_secs(60);

/// A node of the [`Tram`](kengine_tests::Tram) in a process of its own.
pub(crate) struct Node {
    pub(crate) process: NodeProcess,
}

impl Node {
    /// Starts a node on which sessions wait this long, and waits until it is in the directory.
    pub(crate) async fn start(redis: &RedisServer, within: Duration) -> Self {
        let address = free_address();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tram_node"));
        command.arg(address.to_string()).arg(redis.url());
        command.args([LEASE, within].map(|time| time.as_millis().to_string()));
        // With these settings the allocator keeps little of what the node has freed, so the figures show what the node
        // holds.
        command.env("MALLOC_MMAP_THRESHOLD_", "131072").env("MALLOC_TRIM_THRESHOLD_", "131072");
        command.env("MALLOC_ARENA_MAX", "1");
        let process = NodeProcess::spawn(command, address).await;
        redis.directory().await.count_is(address, Some(0)).await;
        Self { process }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.process.address()
    }

    /// Asks the node over a connection of its own, as a guest, and returns the result.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, route: &str, message: impl Into<Value>) -> T {
        #[derive(Deserialize)]
        struct Answer<T> {
            result: T,
        }
        let mut socket = Upgrade::new(self.address()).open(self.address()).await;
        let request = json!({"method": route, "message": message.into(), "id": 1}).to_string();
        socket.send_frames([ClientFrame::text(request)]).await;
        let answer = socket.next().await.expect("an answer");
        socket.send_frames([ClientFrame::close(1000, "")]).await;
        assert_eq!(socket.transcript().await, ["close 1000", "end of TCP"]);
        let answer: Answer<T> = serde_json::from_slice(&answer.payload).expect("a result of this type");
        answer.result
    }

    /// Returns what the node holds, with the connection of who asks.
    pub(crate) async fn held(&self) -> Held {
        self.ask("held", Value::Null).await
    }

    /// Returns how often the hooks were called, also for the connections of those who ask.
    pub(crate) async fn told(&self) -> Told {
        self.ask("told", Value::Null).await
    }

    /// Tells the node to drain, and waits until it has ended.
    pub(crate) async fn stop(self) {
        self.process.terminate();
        self.process.ended().await;
    }
}

/// Returns the number in an environment variable, or this one.
pub(crate) fn number_in(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |number| number.parse().expect("a number"))
}
