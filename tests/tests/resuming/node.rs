//! Nodes in processes of their own, and what they say about themselves.

use std::{net::SocketAddr, process::Command, time::Duration};

use kengine_tests::{ClientFrame, Held, NodeProcess, RawClient, RedisServer, Told, Upgrade, free_address};
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
        let mut socket = self.open().await;
        let result = ask(&mut socket, route, message).await;
        leave(socket).await;
        result
    }

    async fn open(&self) -> RawClient {
        Upgrade::new(self.address()).open(self.address()).await
    }

    /// Begins to watch the node.
    pub(crate) async fn watch(&self) -> Watch {
        Watch { sockets: [self.open().await, self.open().await] }
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

/// Two connections to a node, which serves them by one thread each if its threads have nothing else to do.
pub(crate) struct Watch {
    sockets: [RawClient; 2],
}

impl Watch {
    /// Returns what the node holds, with these connections, and with the tasks of both threads.
    pub(crate) async fn held(&mut self) -> Held {
        let [one, other] = &mut self.sockets;
        let (one, other): (Held, Held) = (ask(one, "held", ()).await, ask(other, "held", ()).await);
        Held { tasks: one.tasks + other.tasks, ..other }
    }

    /// Closes the connections.
    pub(crate) async fn end(self) {
        let [one, other] = self.sockets;
        leave(one).await;
        leave(other).await;
    }
}

/// Asks the node at the other end, and returns the result.
async fn ask<T: DeserializeOwned>(socket: &mut RawClient, route: &str, message: impl Into<Value>) -> T {
    #[derive(Deserialize)]
    struct Answer<T> {
        result: T,
    }
    let request = json!({"method": route, "message": message.into(), "id": 1}).to_string();
    socket.send_frames([ClientFrame::text(request)]).await;
    let answer = socket.next().await.expect("an answer");
    let answer: Answer<T> = serde_json::from_slice(&answer.payload).expect("a result of this type");
    answer.result
}

async fn leave(mut socket: RawClient) {
    socket.send_frames([ClientFrame::close(1000, "")]).await;
    assert_eq!(socket.transcript().await, ["close 1000", "end of TCP"]);
}

/// Returns the number in an environment variable, or this one.
pub(crate) fn number_in(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |number| number.parse().expect("a number"))
}
