//! A node in a process of its own that hostile clients attack.

use std::{process::Command, time::Duration};

use kengine_tests::{ClientFrame, Held, NodeProcess, RawClient, RedisServer, Upgrade, free_address, within};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use crate::{honest::PLAYERS, row::PING};

/// A node with the default limits, which concern this machine too, and an operator who asks what it holds.
pub(crate) struct Node {
    pub(crate) process: NodeProcess,
    operator: RawClient,
}

impl Node {
    /// Starts a node that is alone.
    pub(crate) async fn start(largest_message: usize) -> Self {
        Self::start_with(largest_message, None).await
    }

    /// Starts a node of the cluster in this Redis, and waits until it is in the directory.
    pub(crate) async fn start_in(redis: &RedisServer, largest_message: usize) -> Self {
        let node = Self::start_with(largest_message, Some(redis.url())).await;
        redis.directory().await.count_is(node.process.address(), Some(1)).await;
        node
    }

    async fn start_with(largest_message: usize, redis: Option<String>) -> Self {
        let address = free_address();
        let mut command = Command::new(env!("CARGO_BIN_EXE_fortress"));
        command.arg(address.to_string()).arg(largest_message.to_string()).args(redis);
        // With these settings the allocator keeps little of what the node has freed, so the figures show what the node
        // holds.
        command.env("MALLOC_MMAP_THRESHOLD_", "131072").env("MALLOC_TRIM_THRESHOLD_", "131072");
        let process = NodeProcess::spawn(command, address).await;
        let operator = Upgrade::new(address).path(format!("/ws?uid=operator-{}", address.port())).open(address).await;
        Self { process, operator }
    }

    /// Returns what the node holds, with the connection of the operator.
    pub(crate) async fn held(&mut self) -> Held {
        #[derive(Deserialize)]
        struct Answer {
            result: Held,
        }
        self.operator.send_frames([ClientFrame::text(r#"{"method":"held","id":1}"#)]).await;
        loop {
            let frame = self.operator.next().await.expect("an operator who stays connected");
            if frame.opcode == PING {
                self.operator.send_frames([ClientFrame::pong(frame.payload)]).await;
                continue;
            }
            return serde_json::from_slice::<Answer>(&frame.payload).expect("what the node holds").result;
        }
    }

    /// Waits until only the honest players and the operator are left.
    pub(crate) async fn calms(&mut self) {
        let calm = async {
            loop {
                let held = self.held().await;
                if (held.connections, held.rooms) == (PLAYERS + 1, 2) {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        within("the end of the hostile connections", calm).await;
    }

    /// Returns the highest resident memory within this time.
    pub(crate) async fn highest(&self, time: Duration) -> usize {
        let (end, mut highest) = (Instant::now() + time, 0);
        while Instant::now() < end {
            highest = highest.max(self.process.resident());
            sleep(Duration::from_millis(20)).await;
        }
        highest
    }

    /// Lets the operator leave, tells the node to drain, and waits until it has ended.
    pub(crate) async fn stop(self) {
        drop(self.operator);
        self.process.terminate();
        self.process.ended().await;
    }
}
