//! The cluster under test: three nodes, Redis and a gateway, with a proxy on each path between them.
//!
//! ```text
//! players → Front → gateway → ToNode(n) → node n
//!                   gateway → GatewayToRedis → Redis ← NodeToRedis(n) ← node n
//! ```

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use kengine::cluster::gateway::Gateway;
use kengine_tests::{Directory, Folder, Proxy, RedisServer, TestGateway, free_address};
use tokio::sync::Mutex;

use crate::node::{IDLE_TIMEOUT, Node};

/// The number of nodes.
pub(crate) const NODES: usize = 3;

/// A path of data, on which there is a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Path {
    /// From players to the gateway.
    Front,
    /// From the gateway to a node.
    ToNode(usize),
    /// From a node to Redis.
    NodeToRedis(usize),
    /// From the gateway to Redis.
    GatewayToRedis,
}

impl Path {
    /// Returns every path.
    pub(crate) fn all() -> Vec<Self> {
        let to_nodes = (0..NODES).flat_map(|node| [Self::ToNode(node), Self::NodeToRedis(node)]);
        [Self::Front, Self::GatewayToRedis].into_iter().chain(to_nodes).collect()
    }
}

/// The cluster. Whoever disturbs a part of it holds the part's lock until the disturbance has ended.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) redis: Mutex<RedisServer>,
    pub(crate) nodes: Vec<Mutex<Node>>,
    pub(crate) gateway: Mutex<TestGateway>,
    pub(crate) proxies: BTreeMap<Path, Mutex<Proxy>>,
    /// The addresses of the nodes in the directory.
    pub(crate) advertised: Vec<SocketAddr>,
    /// Where players connect.
    pub(crate) front: SocketAddr,
    /// The folder of Redis' snapshot and the nodes' logs.
    pub(crate) folder: Folder,
}

impl Cluster {
    /// Starts everything, and waits until the nodes are in the directory.
    pub(crate) async fn start() -> Self {
        let folder = Folder::new();
        let redis = RedisServer::start_with(&["--dir", &folder.to_string_lossy()]).await;
        let mut proxies = BTreeMap::new();
        let gateway_to_redis = Proxy::start_at(free_address(), redis.port()).await;
        let gateway = Gateway::new(gateway_to_redis.url()).idle_timeout(IDLE_TIMEOUT).affinity("near", "room");
        let gateway = TestGateway::start_as_shipped(gateway).await;
        proxies.insert(Path::GatewayToRedis, gateway_to_redis);
        let front = Proxy::start_at(free_address(), gateway.address().port()).await;
        let (front_address, mut nodes, mut advertised) = (front.address(), Vec::new(), Vec::new());
        proxies.insert(Path::Front, front);
        for number in 0..NODES {
            let to_redis = Proxy::start_at(free_address(), redis.port()).await;
            let address = free_address();
            let mut node = Node::new(format!("node{number}"), address, to_redis.url(), &folder);
            let to_node = Proxy::start_at(address, node.listens().port()).await;
            node.start();
            redis.directory().await.count_is(address, Some(0)).await;
            proxies.insert(Path::NodeToRedis(number), to_redis);
            proxies.insert(Path::ToNode(number), to_node);
            nodes.push(Mutex::new(node));
            advertised.push(address);
        }
        let proxies = proxies.into_iter().map(|(path, proxy)| (path, Mutex::new(proxy))).collect();
        let (redis, gateway) = (Mutex::new(redis), Mutex::new(gateway));
        Self { redis, nodes, gateway, proxies, advertised, front: front_address, folder }
    }

    /// Returns a view of the directory.
    pub(crate) async fn directory(&self) -> Directory {
        self.redis.lock().await.directory().await
    }

    /// Returns the path of Redis' snapshot.
    pub(crate) fn snapshot(&self) -> PathBuf {
        self.folder.join("dump.rdb")
    }
}
