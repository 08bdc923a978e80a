//! Players come through the gateway, nginx, to the node that has most room.

use std::time::Duration;

use kengine_tests::{Client, RedisServer, TestGateway, TestServer, Town};

const LEASE: Duration = Duration::from_secs(6);

#[tokio::test]
async fn a_player_comes_through_to_a_node() {
    let redis = RedisServer::start().await;
    let node = TestServer::start(Town::node(&redis.url(), LEASE)).await;
    redis.directory().await.count_is(node.address(), Some(0)).await;
    let gateway = TestGateway::start(&redis.url()).await;
    let mut client = Client::connect_to(gateway.address(), "/ws?uid=ada").await;
    assert_eq!(client.ask(r#"{"method":"who","message":"nowhere","id":1}"#).await, "1: []");
    assert_eq!(node.hub().connections(), 1);
    assert_eq!(gateway.errors(), "");
}
