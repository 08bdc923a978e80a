//! A server in the test's process, one for each test.

use std::net::SocketAddr;

use kengine::{Dispatcher, Hub, Server};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{Upgrade, log::let_each_event_be_asked_for, until, within};

/// Returns the server without limits on the rates of clients.
pub fn without_rates<D: Dispatcher>(server: impl Into<Server<D>>) -> Server<D> {
    let server = server.into().max_messages_per_second(u32::MAX, 1).max_bytes_per_second(u32::MAX, 1);
    server.max_pings_per_second(u32::MAX, 1).max_joins_per_second(u32::MAX, 1)
}

/// Returns how often a limit was exceeded.
pub fn refusals(hub: &Hub, limit: &str) -> u64 {
    let mut totals = hub.refusals();
    totals.find(|(name, _)| *name == limit).unwrap_or_else(|| panic!("there is no limit `{limit}`")).1
}

/// A server in this process, on a free port. It listens as soon as this exists.
#[derive(Debug)]
pub struct TestServer {
    address: SocketAddr,
    hub: Hub,
    shutdown: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl TestServer {
    /// Binds a free port and serves, without limits on the rates of clients, because tests send as fast as they can.
    pub async fn start<D: Dispatcher>(server: Server<D>) -> Self {
        Self::start_with_rates(without_rates(server)).await
    }

    /// Binds a free port and serves, with the limits on the rates of clients that the server has.
    pub async fn start_with_rates<D: Dispatcher>(server: Server<D>) -> Self {
        let_each_event_be_asked_for();
        let bound = server.bind("127.0.0.1:0").await.expect("a free port");
        let (address, hub) = (bound.local_addr(), bound.hub());
        let (shutdown, told) = oneshot::channel::<()>();
        let serving = tokio::spawn(bound.serve_until(async {
            // If a failed test drops the sender, the server ends as well.
            let _ = told.await;
        }));
        Self { address, hub, shutdown: Some(shutdown), serving }
    }

    /// Returns the address at which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns its hub.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Waits until it accepts another connection.
    pub async fn has_room(&self) {
        let upgrade = Upgrade::new(self.address);
        until("a free place", async || (upgrade.ask(self.address).await.status == 101).then_some(())).await;
    }

    /// Waits until `/readyz` answers 503, which it does only during a drain.
    pub async fn drains(&self) {
        let ready = Upgrade::new(self.address).path("/readyz");
        until("the drain", async || (ready.ask(self.address).await.status == 503).then_some(())).await;
    }

    /// Waits until it has no connections.
    pub async fn emptied(&self) {
        until("the end of every connection", async || (self.hub.connections() == 0).then_some(())).await;
    }

    /// Starts its shutdown.
    pub fn shut_down(&mut self) {
        let shutdown = self.shutdown.take().expect("the first shutdown");
        shutdown.send(()).expect("a server that still serves");
    }

    /// Waits until it has ended.
    pub async fn ended(self) {
        let ended = within("the end of the server", self.serving).await;
        ended.expect("a server that does not panic");
    }

    /// Shuts it down and waits until it has ended.
    pub async fn stop(mut self) {
        self.shut_down();
        self.ended().await;
    }
}
