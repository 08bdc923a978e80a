//! The gateway limits the connections, the requests and the reserved seats of a client address. The tests are a trusted
//! proxy, which reports the addresses.

use std::net::SocketAddr;

use futures_util::future::join_all;
use kengine::{Server, cluster::Redis, cluster::gateway::Gateway};
use kengine_tests::{
    Doorkeeper, HttpClient, HttpResponse, LIMIT, RawClient, RedisServer, TestGateway, TestServer, Town, Upgrade, until,
    within,
};
use tokio::task::JoinHandle;

const LEASE: std::time::Duration = std::time::Duration::from_secs(6);
const ADA: &str = "198.51.100.7";
const BOB: &str = "198.51.100.8";

/// Returns a gateway that trusts this machine as a proxy. Its limits are higher than any test reaches.
fn behind_a_proxy(redis: &RedisServer) -> Gateway {
    Gateway::new(redis.url())
        .trusted_proxies(["127.0.0.1"])
        .idle_timeout(Town::IDLE_TIME)
        .max_connections_per_address(10_000)
        .max_requests_per_second_per_address(100_000, 100_000)
        .max_reservations_per_address(10_000)
}

/// Returns the request of a client at this address.
fn request(gateway: SocketAddr, client: &str) -> Upgrade {
    Upgrade::new(gateway).and("X-Forwarded-For", client)
}

async fn ask(gateway: &TestGateway, client: &str) -> HttpResponse {
    request(gateway.address(), client).ask(gateway.address()).await
}

async fn open(gateway: &TestGateway, client: &str) -> RawClient {
    request(gateway.address(), client).open(gateway.address()).await
}

fn is_refused(answer: &HttpResponse) {
    assert_eq!((answer.status, answer.error_code().as_str()), (429, "rate_limited"));
    assert_eq!(answer.field("retry-after"), Some("1"));
}

/// Waits until the gateway accepts a client again.
async fn is_accepted_again(gateway: &TestGateway, client: &str) {
    until("a connection", async || (ask(gateway, client).await.status == 101).then_some(())).await;
}

#[tokio::test]
async fn an_address_has_a_limit_of_connections() {
    let redis = RedisServer::start().await;
    let node = redis.serve(Town::node(&redis.url(), LEASE).page("/", "text/plain", "the page")).await;
    let gateway = behind_a_proxy(&redis).trusted_proxies(["10.0.0.0/8"]).max_connections_per_address(3);
    let gateway = TestGateway::start_from(gateway).await;
    // Only the last address that is not a proxy counts.
    let mut clients = Vec::new();
    for client in [ADA, "203.0.113.1, 198.51.100.7", "198.51.100.7, 10.1.2.3"] {
        clients.push(open(&gateway, client).await);
    }
    for client in [ADA, "198.51.100.8, 198.51.100.7"] {
        let refused = request(gateway.address(), client).path("/ws?room=secret").ask(gateway.address()).await;
        is_refused(&refused);
    }
    let page = format!("GET / HTTP/1.1\r\nHost: {}\r\nX-Forwarded-For: {ADA}\r\n\r\n", gateway.address());
    is_refused(&HttpClient::connect(gateway.address()).await.request(page.as_bytes()).await);
    assert_eq!(node.hub().connections(), 3);
    let keys = redis.directory().await.keys().await;
    assert!(!keys.iter().any(|key| key.starts_with("kengine:room:")), "a refused request has placed a room: {keys:?}");
    assert_eq!(ask(&gateway, BOB).await.status, 101);
    // Only the access log has the refused requests.
    until("three lines", async || (gateway.accesses().matches("\" 429 ").count() == 3).then_some(())).await;
    clients.pop();
    is_accepted_again(&gateway, ADA).await;
    assert!(!gateway.accesses().contains("secret"));
    assert_eq!(gateway.errors(), "");
}

#[tokio::test]
async fn an_ipv6_network_counts_as_one_address() {
    let redis = RedisServer::start().await;
    let _node = redis.serve(Town::node(&redis.url(), LEASE)).await;
    let gateway = TestGateway::start_from(behind_a_proxy(&redis).max_connections_per_address(1)).await;
    let _ada = open(&gateway, "2001:db8:0:1::1").await;
    is_refused(&ask(&gateway, "2001:db8:0:1:2:3:4:5").await);
    let _other_network = open(&gateway, "2001:db8:0:2::1").await;
    // IPv4 addresses in IPv6 notation are in one network, but each counts on its own.
    let _ada = open(&gateway, "::ffff:198.51.100.7").await;
    is_refused(&ask(&gateway, ADA).await);
    let _bob = open(&gateway, "::ffff:198.51.100.8").await;
    // These bytes are a line break.
    let _line_breaks = open(&gateway, "10.10.10.10").await;
    is_refused(&ask(&gateway, "10.10.10.10").await);
    let _line_breaks = open(&gateway, "a0a:a0a:a0a:a0a:a0a:a0a:a0a:a0a").await;
    is_refused(&ask(&gateway, "a0a:a0a:a0a:a0a::").await);
}

#[tokio::test]
async fn an_address_has_a_limit_of_requests() {
    const BURST: usize = 3;
    /// More than the gateway accepts while a test may run.
    const REQUESTS: usize = 100;
    assert!(BURST + 2 + usize::try_from(LIMIT.as_secs()).expect("seconds") < REQUESTS);
    let redis = RedisServer::start().await;
    let _node = redis.serve(Town::node(&redis.url(), LEASE)).await;
    let gateway =
        behind_a_proxy(&redis).max_requests_per_second_per_address(1, u32::try_from(BURST).expect("a small number"));
    let gateway = TestGateway::start_from(gateway).await;
    let asked = (0..REQUESTS).map(|number| {
        let upgrade = request(gateway.address(), ADA).path(format!("/ws?room={number}"));
        let address = gateway.address();
        async move { upgrade.ask(address).await }
    });
    let answers = within("answers", join_all(asked)).await;
    let (accepted, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 101);
    assert!(accepted.len() > BURST, "{} were accepted", accepted.len());
    assert!(!refused.is_empty());
    refused.iter().for_each(is_refused);
    let keys = redis.directory().await.keys().await;
    let rooms = keys.iter().filter(|key| key.starts_with("kengine:room:")).count();
    assert_eq!(rooms, accepted.len(), "refused requests have placed rooms");
    assert_eq!(ask(&gateway, BOB).await.status, 101);
    is_accepted_again(&gateway, ADA).await;
    assert_eq!(gateway.errors(), "");
}

/// Starts a request in the background.
fn start(gateway: &TestGateway, client: &str) -> JoinHandle<HttpResponse> {
    let (address, upgrade) = (gateway.address(), request(gateway.address(), client));
    tokio::spawn(async move { upgrade.ask(address).await })
}

/// Starts a node that accepts each player when the test opens its gate.
async fn closed_gate(redis: &RedisServer) -> (TestServer, Doorkeeper) {
    let doorkeeper = Doorkeeper::default();
    let server = Server::new(doorkeeper.clone()).cluster(Redis::new(redis.url())).handshake_timeout(LIMIT);
    (redis.serve(server).await, doorkeeper)
}

#[tokio::test]
async fn an_address_has_a_limit_of_reservations() {
    let redis = RedisServer::start().await;
    let (node, doorkeeper) = closed_gate(&redis).await;
    let gateway = TestGateway::start_from(behind_a_proxy(&redis).max_reservations_per_address(2)).await;
    let mut waiting = vec![start(&gateway, ADA), start(&gateway, ADA)];
    doorkeeper.gate.arrived(2).await;
    is_refused(&request(gateway.address(), ADA).path("/ws?room=lobby").ask(gateway.address()).await);
    let mut directory = redis.directory().await;
    assert_eq!(directory.load(node.address()).await, Some(2));
    assert!(!directory.keys().await.contains(&"kengine:room:lobby".to_owned()), "a refused request has placed a room");
    waiting.push(start(&gateway, BOB));
    doorkeeper.gate.arrived(1).await;
    // An answer of a node, whatever it is, ends the reservation.
    doorkeeper.gate.open(3);
    for answer in join_all(waiting).await {
        assert_eq!(answer.expect("an answer").status, 101);
    }
    let waiting = [start(&gateway, ADA), start(&gateway, ADA)];
    doorkeeper.gate.arrived(2).await;
    is_refused(&ask(&gateway, ADA).await);
    doorkeeper.gate.open(2);
    join_all(waiting).await;
}

#[tokio::test]
async fn a_client_that_leaves_keeps_its_reservation() {
    let redis = RedisServer::start().await;
    let (_node, doorkeeper) = closed_gate(&redis).await;
    let gateway = TestGateway::start_from(behind_a_proxy(&redis).max_reservations_per_address(2)).await;
    for _ in 0..2 {
        let mut client = HttpClient::connect(gateway.address()).await;
        client.send(&request(gateway.address(), ADA).bytes()).await;
        doorkeeper.gate.arrived(1).await;
    }
    gateway.sent_to(2).await;
    is_refused(&ask(&gateway, ADA).await);
}

#[tokio::test]
async fn a_reservation_expires() {
    let redis = RedisServer::start().await;
    let (_node, doorkeeper) = closed_gate(&redis).await;
    let gateway = TestGateway::start_as_shipped(behind_a_proxy(&redis).max_reservations_per_address(1)).await;
    // On a slow machine, the first reservation may have expired when the next request comes.
    let mut attempts = 0;
    until("a refusal", async || {
        attempts += 1;
        let mut client = HttpClient::connect(gateway.address()).await;
        client.send(&request(gateway.address(), ADA).bytes()).await;
        tokio::select! {
            answer = client.response(false) => (answer.status == 429).then_some(()),
            () = doorkeeper.gate.arrived(1) => None,
        }
    })
    .await;
    // The gateway has noticed that the clients have left, so no answer of the node ends their reservations.
    gateway.sent_to(attempts).await;
    doorkeeper.gate.open(1000);
    is_accepted_again(&gateway, ADA).await;
}

#[tokio::test]
async fn a_request_that_no_node_takes_keeps_no_reservation() {
    let redis = RedisServer::start().await;
    let gateway = TestGateway::start_from(behind_a_proxy(&redis).max_reservations_per_address(1)).await;
    for _ in 0..5 {
        let refused = ask(&gateway, ADA).await;
        assert_eq!((refused.status, refused.error_code().as_str()), (503, "no_node"));
    }
}

#[tokio::test]
async fn this_machine_and_proxies_have_no_limits() {
    let redis = RedisServer::start().await;
    let _node = redis.serve(Town::node(&redis.url(), LEASE)).await;
    let strict = |gateway: Gateway| {
        gateway.max_connections_per_address(1).max_requests_per_second_per_address(1, 1).max_reservations_per_address(1)
    };
    let without_proxy = TestGateway::start_from(strict(Gateway::new(redis.url()))).await;
    let behind_proxies = behind_a_proxy(&redis).trusted_proxies(["10.0.0.0/8", "2001:db8::1"]);
    let behind_proxies = TestGateway::start_from(strict(behind_proxies)).await;
    for (gateway, client) in [
        // A client cannot choose its address.
        (&without_proxy, ADA),
        (&behind_proxies, "10.1.2.3"),
        (&behind_proxies, "2001:db8::1"),
        (&behind_proxies, "127.0.0.1"),
        (&behind_proxies, "::1"),
        (&behind_proxies, "unknown"),
    ] {
        let opening = join_all((0..8).map(|_| open(gateway, client)));
        within("connections", opening).await;
    }
}
