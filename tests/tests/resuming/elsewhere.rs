//! A session that waits on one node, while its player is on another one.

use kengine::{
    Close, CloseCode, Duplicates,
    cluster::{Memory, Redis},
};
use kengine_tests::{Harbor, Line, RedisServer, ReturningClient, TestServer, until};

/// The nodes of a cluster, and what is noted on the first.
struct Nodes {
    harbor: Harbor,
    servers: [TestServer; 2],
    redis: Option<RedisServer>,
}

impl Nodes {
    async fn start(duplicates: Duplicates, in_redis: bool) -> Self {
        let (harbor, other) = (Harbor::default(), Harbor::default());
        let servers = [&harbor, &other].map(|harbor| harbor.server().duplicates(duplicates));
        let [one, two] = servers;
        if in_redis {
            let redis = RedisServer::start().await;
            let [one, two] = [one, two].map(|server| server.cluster(Redis::new(redis.url())));
            let servers = [redis.serve(one).await, redis.serve(two).await];
            return Self { harbor, servers, redis: Some(redis) };
        }
        let cluster = Memory::new();
        let servers = [TestServer::start(one.cluster(&cluster)).await, TestServer::start(two.cluster(&cluster)).await];
        Self { harbor, servers, redis: None }
    }

    /// Returns a client whose session waits on the first node, as the whole cluster knows.
    async fn absent(&self) -> ReturningClient {
        let mut ada = ReturningClient::connect(self.servers[0].address(), "ada").await;
        if let Some(redis) = &self.redis {
            let holder = Some(self.servers[0].address().to_string());
            redis.directory().await.user_is("ada", holder).await;
        }
        ada.cut();
        let is_away = async || (self.servers[0].hub().suspended() == 1).then_some(());
        until("a suspended session", is_away).await;
        assert_eq!(self.harbor.noted(2).await, ["open ada", "suspend ada"]);
        ada
    }
}

#[tokio::test]
async fn a_newer_connection_to_another_node_ends_the_session_that_waits() {
    for in_redis in [false, true] {
        for duplicates in [Duplicates::Replace, Duplicates::Refuse] {
            let nodes = Nodes::start(duplicates, in_redis).await;
            let ada = nodes.absent().await;
            if in_redis && duplicates == Duplicates::Refuse {
                // The directory hears of it a moment later.
                let mut connection = nodes.redis.as_ref().expect("Redis").connection().await;
                let is_away = async || {
                    let keys: Vec<String> =
                        redis::cmd("KEYS").arg("*user*").query_async(&mut connection).await.unwrap();
                    let key = keys.first()?;
                    let away: Option<String> =
                        redis::cmd("HGET").arg(key).arg("away").query_async(&mut connection).await.unwrap();
                    (away.as_deref() == Some("1")).then_some(())
                };
                until("a player who is away", is_away).await;
            }
            let mut newer = ReturningClient::connect(nodes.servers[1].address(), "ada").await;
            assert_eq!(nodes.harbor.noted(1).await, ["close (replaced by a newer connection) ada"]);
            assert_eq!(newer.ask("count", 1, 1).await, "1: 1", "{duplicates:?}");
            nodes.servers[0].emptied().await;
            drop((ada, newer));
            for server in nodes.servers {
                server.stop().await;
            }
        }
    }
}

#[tokio::test]
async fn sends_and_kicks_of_another_node_reach_the_session_that_waits() {
    for in_redis in [false, true] {
        let nodes = Nodes::start(Duplicates::Replace, in_redis).await;
        let mut ada = nodes.absent().await;
        let user = nodes.servers[1].hub().user("ada");
        user.send(&Line(1)).expect("a bus that works");
        until("a push", async || (nodes.harbor.sailor().queued().pushes == 1).then_some(())).await;
        assert!(ada.come_back().await);
        ada.expect(r#"{"method":"line","message":1}"#).await;
        ada.cut();
        assert_eq!(nodes.harbor.noted(2).await, ["resume ada", "suspend ada"]);
        user.kick(Close::new(CloseCode::KICKED, "out"));
        assert_eq!(nodes.harbor.noted(1).await, ["close (closed by the server: 4501 \"out\") ada"]);
        assert!(!ada.come_back().await);
        drop(ada);
        for server in nodes.servers {
            server.stop().await;
        }
    }
}

#[tokio::test]
async fn a_session_is_not_resumed_on_another_node() {
    let nodes = Nodes::start(Duplicates::Replace, false).await;
    let mut ada = nodes.absent().await;
    ada.come_back_to(nodes.servers[1].address());
    assert!(!ada.come_back().await);
    assert_eq!(ada.ask("count", 1, 1).await, "1: 1");
    assert_eq!(nodes.harbor.noted(1).await, ["close (replaced by a newer connection) ada"]);
    drop(ada);
    for server in nodes.servers {
        server.stop().await;
    }
}
