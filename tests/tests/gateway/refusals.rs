//! The gateway passes on how a node refuses a player.

use std::{net::SocketAddr, time::Duration};

use kengine::{Server, cluster::Redis};
use kengine_tests::{Gatehouse, HttpClient, RawClient, RedisServer, TestGateway, Upgrade, until};

const LEASE: Duration = Duration::from_secs(6);

/// Connects as soon as the gateway knows that the seat of the last client is free again.
async fn enter(request: &Upgrade, address: SocketAddr) -> RawClient {
    let attempt = async || {
        let mut http = HttpClient::connect(address).await;
        let response = http.request(&request.bytes()).await;
        (response.status == 101).then(|| http.into_websocket())
    };
    until("a free seat", attempt).await
}

#[tokio::test]
async fn a_page_behind_a_gateway_is_told_by_a_close_code() {
    let redis = RedisServer::start().await;
    let server = Server::new(Gatehouse::default()).cluster(Redis::new(redis.url()).lease(LEASE)).max_connections(1);
    let node = redis.serve(server).await;
    let gateway = TestGateway::start(&redis.url()).await;
    let address = gateway.address();
    let request = Upgrade::new(address).path("/ws?status=401");
    let response = request.ask(address).await;
    assert_eq!((response.status, response.error_code().as_str()), (401, "closed"));

    let page = request.with("Origin", format!("http://{address}"));
    let mut client = enter(&page, address).await;
    let frame = client.next().await.expect("a close frame");
    assert_eq!(frame.close(), Some((4504, "closed: not today")));
    client.answer_close(4504).await;
    // It was no player, and its reserved seat is free again.
    redis.directory().await.count_is(node.address(), Some(0)).await;

    // A full node makes the gateway try another one. In the end the gateway itself answers, by a status.
    let mut player = enter(&page.clone().path("/ws"), address).await;
    assert_eq!(player.ask(r#"{"method":"here"}"#).await, "true");
    let response = page.path("/ws").ask(address).await;
    assert_eq!((response.status, response.error_code().as_str()), (503, "no_node"));
    drop(player);
    node.stop().await;
}
