//! Players who come through a gateway, and learn where they are.

use std::net::SocketAddr;

use crate::{RawClient, Upgrade};

/// One who came in.
#[derive(Debug)]
pub struct Comer {
    /// The connection.
    pub client: RawClient,
    /// The node's process, unless it was gone before it told.
    pub process: Option<u32>,
}

impl Comer {
    /// Comes through a gateway to a node of the [`Town`](crate::Town), with this query.
    ///
    /// # Panics
    ///
    /// When the gateway does not answer with 101.
    pub async fn come(gateway: SocketAddr, query: &str) -> Self {
        let client = Upgrade::new(gateway).path(format!("/ws{query}")).open(gateway).await;
        let mut comer = Self { client, process: None };
        comer.process = comer.ask().await;
        comer
    }

    /// Whether the connection is alive, and where it was.
    pub async fn is_alive(&mut self) -> bool {
        let process = self.ask().await;
        process.is_some() && process == self.process
    }

    /// Asks the node which process it is; none once the connection has ended.
    async fn ask(&mut self) -> Option<u32> {
        let answer = self.client.ask(r#"{"method":"process","id":0}"#).await;
        answer.strip_prefix("0: ")?.parse().ok()
    }
}
