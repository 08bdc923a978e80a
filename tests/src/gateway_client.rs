//! A client that connects through a gateway and asks which node serves it.

use std::net::SocketAddr;

use crate::{RawClient, Upgrade};

/// A client that has connected through a gateway.
#[derive(Debug)]
pub struct GatewayClient {
    /// The connection.
    pub connection: RawClient,
    /// The process of the node, or `None` if the connection ended before the node answered.
    pub process: Option<u32>,
}

impl GatewayClient {
    /// Connects through a gateway to a node of the [`Town`](crate::Town), with this query.
    ///
    /// # Panics
    ///
    /// Panics if the gateway does not answer with 101.
    pub async fn connect(gateway: SocketAddr, query: &str) -> Self {
        let connection = Upgrade::new(gateway).path(format!("/ws{query}")).open(gateway).await;
        let mut client = Self { connection, process: None };
        client.process = client.ask().await;
        client
    }

    /// Returns whether the connection is alive and still served by the same process.
    pub async fn is_alive(&mut self) -> bool {
        let process = self.ask().await;
        process.is_some() && process == self.process
    }

    /// Asks the node for its process; returns `None` once the connection has ended.
    async fn ask(&mut self) -> Option<u32> {
        let answer = self.connection.ask(r#"{"method":"process","id":0}"#).await;
        answer.strip_prefix("0: ")?.parse().ok()
    }
}
