//! Players who connect through a gateway and ask which node serves them.

use std::net::SocketAddr;

use crate::{RawClient, Upgrade};

/// A player who has connected.
#[derive(Debug)]
pub struct Comer {
    /// The connection.
    pub client: RawClient,
    /// The process of the node, or `None` if the connection ended before the node answered.
    pub process: Option<u32>,
}

impl Comer {
    /// Connects through a gateway to a node of the [`Town`](crate::Town), with this query.
    ///
    /// # Panics
    ///
    /// Panics if the gateway does not answer with 101.
    pub async fn come(gateway: SocketAddr, query: &str) -> Self {
        let client = Upgrade::new(gateway).path(format!("/ws{query}")).open(gateway).await;
        let mut comer = Self { client, process: None };
        comer.process = comer.ask().await;
        comer
    }

    /// Returns whether the connection is alive and still served by the same process.
    pub async fn is_alive(&mut self) -> bool {
        let process = self.ask().await;
        process.is_some() && process == self.process
    }

    /// Asks the node for its process; returns `None` once the connection has ended.
    async fn ask(&mut self) -> Option<u32> {
        let answer = self.client.ask(r#"{"method":"process","id":0}"#).await;
        answer.strip_prefix("0: ")?.parse().ok()
    }
}
