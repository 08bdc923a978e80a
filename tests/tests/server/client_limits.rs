//! The limits on clients that connect: per address and for the whole node; and health on a listener of its own. The
//! tests are a trusted proxy, which reports addresses, or use the addresses of 127.0.0.0/8.
#![cfg(target_os = "linux")]

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    time::Duration,
};

use futures_util::future::join_all;
use kengine::{Server, StartError};
use kengine_tests::{
    Doorkeeper, HttpClient, HttpResponse, LIMIT, Lobby, NodeProcess, RawClient, TestServer, Upgrade, connect_from,
    every_row, free_address, heavy_test, refusals, until, within,
};
use rustix::process::{Pid, Resource, getrlimit, prlimit};
use tokio::{io::AsyncReadExt, net::TcpStream, task::JoinSet};

const ADA: &str = "198.51.100.7";
const BOB: &str = "198.51.100.8";
const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// Returns a server that trusts this machine as a proxy. Its limits are higher than any test reaches.
fn behind_a_proxy() -> Server<Lobby> {
    Server::new(Lobby)
        .trusted_proxies(["127.0.0.1"])
        .max_connections_per_address(10_000)
        .max_handshakes_per_second_per_address(100_000, 100_000)
}

fn request(server: &TestServer, client: &str) -> Upgrade {
    Upgrade::new(server.address()).and("X-Forwarded-For", client)
}

async fn ask(server: &TestServer, client: &str) -> HttpResponse {
    request(server, client).ask(server.address()).await
}

async fn open(server: &TestServer, client: &str) -> RawClient {
    request(server, client).open(server.address()).await
}

fn is_refused(answer: &HttpResponse) {
    assert_eq!((answer.status, answer.error_code().as_str()), (429, "rate_limited"));
    assert_eq!(answer.field("retry-after"), Some("1"));
}

/// Waits until the server has closed a socket without an answer.
async fn is_closed(mut socket: TcpStream) {
    let read = within("the end of TCP", socket.read(&mut [0; 16])).await;
    assert!(matches!(read, Ok(0) | Err(_)), "an answer");
}

async fn health(stream: TcpStream) {
    assert_eq!(HttpClient::over(stream).request(HEALTH).await.status, 200);
}

/// Sends a request on new sockets until the server answers one of them. If the machine is slow, a handshake takes so
/// long that a server under attack may cut it off.
async fn answered(server: SocketAddr, request: &[u8]) -> (HttpClient, HttpResponse) {
    until("an answer", async || {
        let mut http = HttpClient::connect(server).await;
        http.try_request(request).await.map(|answer| (http, answer))
    })
    .await
}

/// Checks that clients get answers, although others send nothing.
async fn serves(server: SocketAddr) {
    for _ in 0..3 {
        assert_eq!(answered(server, HEALTH).await.1.status, 200);
        let (player, answer) = answered(server, &Upgrade::new(server).bytes()).await;
        assert_eq!(answer.status, 101);
        player.into_websocket().heartbeat().await;
    }
}

#[tokio::test]
async fn an_address_has_a_limit_of_connections() {
    let server = TestServer::start(behind_a_proxy().max_connections_per_address(2)).await;
    let mut clients = vec![open(&server, ADA).await, open(&server, "203.0.113.1, 198.51.100.7").await];
    is_refused(&ask(&server, ADA).await);
    is_refused(&ask(&server, "::ffff:198.51.100.7").await);
    assert_eq!(refusals(server.hub(), "max_connections_per_address"), 2);
    assert_eq!(server.hub().connections(), 2);
    let bob = open(&server, BOB).await;
    clients.pop();
    until("a free place", async || (ask(&server, ADA).await.status == 101).then_some(())).await;
    // Pages have no limit.
    let page = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {ADA}\r\n\r\n");
    assert_eq!(HttpClient::connect(server.address()).await.request(page.as_bytes()).await.status, 200);
    drop((clients, bob));
    server.stop().await;
}

#[tokio::test]
async fn an_ipv6_network_counts_as_one_address() {
    let server = TestServer::start(behind_a_proxy().max_connections_per_address(1)).await;
    let ada = open(&server, "2001:db8:0:1::1").await;
    is_refused(&ask(&server, "2001:db8:0:1:2:3:4:5").await);
    let other_network = open(&server, "2001:db8:0:2::1").await;
    let mapped = open(&server, "::ffff:198.51.100.7").await;
    let bob = open(&server, "::ffff:198.51.100.8").await;
    is_refused(&ask(&server, ADA).await);
    drop((ada, other_network, mapped, bob));
    server.stop().await;
}

/// More handshakes than a rate of one per second accepts while a test may run.
const HANDSHAKES: usize = 100;

#[tokio::test]
async fn an_address_has_a_limit_of_handshakes() {
    assert!(3 + 2 + usize::try_from(LIMIT.as_secs()).expect("seconds") < HANDSHAKES);
    let server = TestServer::start(behind_a_proxy().max_handshakes_per_second_per_address(1, 3)).await;
    let answers = within("answers", join_all((0..HANDSHAKES).map(|_| ask(&server, ADA)))).await;
    let (accepted, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 101);
    assert!(accepted.len() >= 3, "{} were accepted", accepted.len());
    assert!(!refused.is_empty());
    refused.iter().for_each(is_refused);
    assert_eq!(refusals(server.hub(), "max_handshakes_per_second_per_address"), refused.len() as u64);
    assert_eq!(ask(&server, BOB).await.status, 101);
    until("a handshake", async || (ask(&server, ADA).await.status == 101).then_some(())).await;
    server.stop().await;
}

#[tokio::test]
async fn refused_requests_count_as_handshakes() {
    let server = behind_a_proxy().max_handshakes_per_second_per_address(1, 20);
    let server = TestServer::start(server).await;
    let invalid = request(&server, ADA).without("Sec-WebSocket-Key");
    let mut client = HttpClient::connect(server.address()).await;
    // The client is faster than its rate, so at some time it is refused.
    let refused = async {
        loop {
            let answer = client.request(&invalid.bytes()).await;
            if answer.status == 429 {
                return answer;
            }
            assert_eq!(answer.status, 400);
        }
    };
    is_refused(&within("a refusal", refused).await);
    server.stop().await;
}

#[tokio::test]
async fn a_node_has_a_limit_of_handshakes() {
    let server = TestServer::start(Server::new(Lobby).max_handshakes_per_second(1, 3)).await;
    let handshake = Upgrade::new(server.address());
    let answers = within("answers", join_all((0..HANDSHAKES).map(|_| handshake.ask(server.address())))).await;
    let refused: Vec<_> = answers.into_iter().filter(|answer| answer.status != 101).collect();
    assert!((1..=HANDSHAKES - 3).contains(&refused.len()), "{} were refused", refused.len());
    for answer in &refused {
        assert_eq!((answer.status, answer.error_code().as_str()), (503, "unavailable"));
        assert_eq!(answer.field("retry-after"), Some("1"));
    }
    assert_eq!(refusals(server.hub(), "max_handshakes_per_second"), refused.len() as u64);
    health(TcpStream::connect(server.address()).await.expect("a server that listens")).await;
    server.has_room().await;
    server.stop().await;
}

#[tokio::test]
async fn an_address_has_a_limit_of_pending_handshakes() {
    let [ada, bob] = [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];
    let server = Server::new(Lobby).limit_loopback().max_pending_handshakes_per_address(3).handshake_timeout(LIMIT * 2);
    let server = TestServer::start(server).await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(connect_from(ada, server.address()).await);
    }
    is_closed(connect_from(ada, server.address()).await).await;
    assert_eq!(refusals(server.hub(), "max_pending_handshakes_per_address"), 1);
    health(connect_from(bob, server.address()).await).await;
    // A connection is no pending handshake any more.
    let mut player = HttpClient::over(silent.pop().expect("a socket"));
    assert_eq!(player.request(&Upgrade::new(server.address()).bytes()).await.status, 101);
    until("a free place", async || {
        let mut http = HttpClient::over(connect_from(ada, server.address()).await);
        http.try_request(HEALTH).await.map(|answer| assert_eq!(answer.status, 200))
    })
    .await;
    player.into_websocket().heartbeat().await;
    server.stop().await;
}

#[tokio::test]
async fn an_address_that_only_opens_sockets_is_refused() {
    let [ada, bob] = [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];
    let server = Server::new(Lobby).limit_loopback().max_handshakes_per_second_per_address(1, 3);
    let server = TestServer::start(server).await;
    until("a refusal", async || {
        drop(connect_from(ada, server.address()).await);
        (refusals(server.hub(), "max_handshakes_per_second_per_address") > 0).then_some(())
    })
    .await;
    health(connect_from(bob, server.address()).await).await;
    until("an answer", async || {
        let mut http = HttpClient::over(connect_from(ada, server.address()).await);
        http.try_request(HEALTH).await
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn proxies_and_this_machine_have_no_limits() {
    let strict = |server: Server<Lobby>| {
        server
            .max_pending_handshakes_per_address(1)
            .max_connections_per_address(1)
            .max_handshakes_per_second_per_address(1, 1)
    };
    let without_proxy = TestServer::start(strict(Server::new(Lobby))).await;
    let proxies = ["127.0.0.1", "10.0.0.0/8", "2001:db8::1"];
    let behind_proxies = TestServer::start(strict(Server::new(Lobby).trusted_proxies(proxies).limit_loopback())).await;
    for (server, client) in [
        // A client cannot choose its address.
        (&without_proxy, ADA),
        (&behind_proxies, "10.1.2.3"),
        (&behind_proxies, "2001:db8::1"),
        (&behind_proxies, "127.0.0.1"),
        (&behind_proxies, "unknown"),
    ] {
        within("connections", join_all((0..8).map(|_| open(server, client)))).await;
    }
    let _other = open(&behind_proxies, "127.0.0.2").await;
    is_refused(&ask(&behind_proxies, "127.0.0.2").await);
}

#[tokio::test]
async fn the_oldest_pending_handshake_is_cut_off() {
    const MAX: usize = 4;
    let doorkeeper = Doorkeeper::default();
    let server = Server::new(doorkeeper.clone()).max_pending_handshakes(MAX).handshake_timeout(LIMIT * 2);
    let server = TestServer::start(server).await;
    // A handshake that is being accepted is not cut off, although it is the oldest.
    let mut player = HttpClient::connect(server.address()).await;
    player.send(&Upgrade::new(server.address()).bytes()).await;
    doorkeeper.gate.arrived(1).await;
    let half = b"GET /healthz HTTP/1.1\r\n";
    let mut begun = Vec::new();
    for number in 0..=MAX {
        let mut http = HttpClient::connect(server.address()).await;
        if number % 2 == 1 {
            http.send(half).await;
        }
        begun.push(http);
    }
    assert_eq!(begun.remove(0).rest().await, b"");
    assert_eq!(refusals(server.hub(), "max_pending_handshakes"), 1);
    for (number, mut http) in begun.into_iter().enumerate() {
        let rest = if number % 2 == 0 { &b"Host: x\r\n\r\n"[..] } else { HEALTH };
        assert_eq!(http.request(rest).await.status, 200, "{number}");
    }
    doorkeeper.gate.open(1);
    assert_eq!(player.response(false).await.status, 101);
    player.into_websocket().heartbeat().await;
    server.stop().await;
}

/// Keeps silent sockets open: one is opened for each client, and again whenever the server cuts it off.
fn keep_open(server: SocketAddr, clients: impl IntoIterator<Item = Ipv4Addr>) -> JoinSet<()> {
    let keep = |client| async move {
        loop {
            let mut socket = connect_from(client, server).await;
            let _ = socket.read(&mut [0]).await;
        }
    };
    clients.into_iter().map(keep).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_sockets_do_not_keep_others_away() {
    let _turn = heavy_test().await;
    let one = || std::iter::repeat_n(Ipv4Addr::new(127, 0, 0, 2), 400);
    let thousand = || (0..1000).map(|number| Ipv4Addr::from(0x7f01_0000 + number));
    // More sockets are kept open than there may be, and none would end by itself.
    let server = || Server::new(Lobby).max_pending_handshakes(200).handshake_timeout(Duration::MAX);
    for (row, server, clients) in [
        ("one address without limits", server(), one().collect::<Vec<_>>()),
        ("one address", server().limit_loopback(), one().collect()),
        ("a thousand addresses without limits", server(), thousand().collect()),
        ("a thousand addresses", server().limit_loopback(), thousand().collect()),
    ] {
        let server = TestServer::start(server).await;
        let sockets = keep_open(server.address(), clients);
        until("a refusal", async || server.hub().refusals().any(|(_, total)| total > 0).then_some(())).await;
        serves(server.address()).await;
        println!("{row}: {:?}", server.hub().refusals().collect::<Vec<_>>());
        drop(sockets);
        server.stop().await;
    }
}

/// Starts a node in a process of its own that may open only this many files. Its handshakes have no timeout.
async fn with_files(files: u32) -> NodeProcess {
    let mut command = Command::new("sh");
    let script = format!("ulimit -Sn {files}; exec \"$0\" \"$@\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_node")]);
    // There is no Redis at this address. The node serves its players nevertheless.
    NodeProcess::start_from(command, free_address(), "redis://127.0.0.1:1/", LIMIT).await
}

/// Asserts that a node answers while 400 sockets are silent.
async fn answers_beside_silent_sockets(node: SocketAddr) {
    let sockets = keep_open(node, std::iter::repeat_n(Ipv4Addr::LOCALHOST, 400));
    serves(node).await;
    drop(sockets);
}

#[tokio::test]
async fn silent_sockets_do_not_use_up_the_files() {
    let _turn = heavy_test().await;
    let node = with_files(300).await;
    answers_beside_silent_sockets(node.address()).await;
}

#[tokio::test]
async fn a_process_without_a_free_file_goes_on_accepting() {
    let _turn = heavy_test().await;
    let node = with_files(1000).await;
    // The node does not notice this lower limit, just as it does not notice files that the rest of its process opens.
    let pid = i32::try_from(node.pid()).ok().and_then(Pid::from_raw);
    let limit = rustix::process::Rlimit { current: Some(60), ..getrlimit(Resource::Nofile) };
    prlimit(pid, Resource::Nofile, limit).expect("a process of ours");
    answers_beside_silent_sockets(node.address()).await;
}

/// Starts a server with a listener for operators, and returns both its addresses.
async fn operated<D: kengine::Dispatcher>(server: Server<D>) -> (SocketAddr, SocketAddr, tokio::task::JoinHandle<()>) {
    let bound = server.operate("127.0.0.1:0").bind("127.0.0.1:0").await.expect("free ports");
    let operator = bound.operator_addr().expect("a listener for operators");
    let players = bound.local_addr();
    assert_ne!(operator, players);
    (players, operator, tokio::spawn(bound.serve_until(std::future::pending())))
}

#[tokio::test]
async fn operators_have_a_listener_of_their_own() {
    let server = Server::new(Lobby)
        .page("/", "text/plain", "for players")
        .page("/healthz", "text/plain", "for players")
        .limit_loopback()
        .max_pending_handshakes_per_address(0);
    let (players, operator, serving) = operated(server).await;
    is_closed(TcpStream::connect(players).await.expect("a server that listens")).await;
    let rows = [
        ("health", ("GET /healthz", 200, "ok\n")),
        ("readiness", ("GET /readyz", 200, "ready\n")),
        ("the header of health", ("HEAD /healthz", 200, "")),
    ];
    every_row(rows, async |(line, status, body)| {
        let request = format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n");
        let response = HttpClient::connect(operator).await.request(request.as_bytes()).await;
        assert_eq!((response.status, response.body.as_str()), (status, body));
    })
    .await;
    let rows = [
        ("a page for players", ("GET /", 404, "not_found")),
        ("the WebSocket", ("GET /ws", 404, "not_found")),
        ("another method", ("POST /healthz", 405, "method_not_allowed")),
    ];
    every_row(rows, async |(line, status, code)| {
        let request = format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n");
        let response = HttpClient::connect(operator).await.request(request.as_bytes()).await;
        assert_eq!((response.status, response.error_code().as_str()), (status, code));
    })
    .await;
    serving.abort();
}

#[tokio::test]
async fn silent_operators_do_not_keep_others_away() {
    let (_, operator, serving) = operated(Server::new(Lobby).handshake_timeout(Duration::MAX)).await;
    let sockets = keep_open(operator, std::iter::repeat_n(Ipv4Addr::LOCALHOST, 100));
    for _ in 0..5 {
        assert_eq!(answered(operator, HEALTH).await.1.status, 200);
    }
    drop(sockets);
    serving.abort();
}

#[tokio::test]
async fn operators_see_a_drain() {
    let doorkeeper = Doorkeeper::default();
    let server = Server::new(doorkeeper.clone()).handshake_timeout(Duration::MAX).drain_timeout(LIMIT * 2);
    let bound = server.operate("127.0.0.1:0").bind("127.0.0.1:0").await.expect("free ports");
    let (players, operator) = (bound.local_addr(), bound.operator_addr().expect("a listener for operators"));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(bound.serve_until(async { drop(stopped.await) }));
    // The drain waits for this handshake.
    let mut player = HttpClient::connect(players).await;
    player.send(&Upgrade::new(players).bytes()).await;
    doorkeeper.gate.arrived(1).await;
    drop(stop);
    let page = |path| Upgrade::new(operator).path(path);
    until("the drain", async || (page("/readyz").ask(operator).await.status == 503).then_some(())).await;
    assert_eq!(page("/healthz").ask(operator).await.status, 200);
    doorkeeper.gate.open(1);
    within("the end of the drain", serving).await.expect("no panic");
    assert!(TcpStream::connect(operator).await.is_err(), "it still listens");
}

#[tokio::test]
async fn an_address_that_cannot_be_operated_is_an_error_of_bind() {
    for address in ["localhost:9000", "9000", "127.0.0.1", ""] {
        let refused = Server::new(Lobby).operate(address).bind("127.0.0.1:0").await.expect_err("not an address");
        assert!(matches!(refused, StartError::Config(_)), "{refused}");
        assert!(
            refused.to_string().contains(&format!("`{address}` is not an address for `Server::operate`")),
            "{refused}"
        );
    }
    let server = TestServer::start(Server::new(Lobby)).await;
    let taken = Server::new(Lobby).operate(server.address().to_string()).bind("127.0.0.1:0").await;
    let taken = taken.expect_err("the port is taken");
    assert!(matches!(taken, StartError::Bind { .. }), "{taken}");
    assert!(taken.to_string().contains(&server.address().to_string()), "{taken}");
    server.stop().await;
    let service = Server::new(Lobby).operate("127.0.0.1:9000").into_service().expect_err("no listener");
    assert!(matches!(service, StartError::Config(_)), "{service}");
}
