//! Seats that a gateway has reserved: when a connection is counted, its reservation is removed in the same step.

use std::{net::SocketAddr, time::Duration};

use kengine::{Dispatcher, Server, cluster::Redis};
use kengine_tests::{
    Client, Directory, Doorkeeper, HttpClient, Lobby, Network, Proxy, RawClient, RedisServer, TestServer, Town,
    Upgrade, serve_router, until,
};
use tokio::net::TcpListener;

/// The header field in which a gateway names a reservation.
const FIELD: &str = "Kengine-Reservation";
/// A reservation that outlasts any test, so that only the node ends it.
const LONG: Duration = Duration::from_secs(600);
/// A lease so long that no heartbeat comes during a test; one is due every third of it.
const LEASE: Duration = Duration::from_secs(600);
/// A lease with a heartbeat every 100 ms.
const OFTEN: Duration = Duration::from_millis(300);
/// How many redeemed reservations a node remembers while Redis is away.
const WAITING: usize = 8192;

/// Returns a reservation's id in the form that a gateway uses.
fn id(number: usize) -> String {
    format!("feed{number:028x}")
}

fn ids(count: usize) -> Vec<String> {
    (0..count).map(id).collect()
}

/// Reserves seats on a node for this long, as a gateway does.
async fn reserve(directory: &mut Directory, address: impl ToString, ids: &[String], lasting: Duration) {
    const RESERVE: &str = "
        local time = redis.call('TIME')
        local expiry = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2]
        for i = 3, #ARGV do
          redis.call('ZADD', KEYS[2], expiry, ARGV[i])
          redis.call('ZINCRBY', KEYS[1], 1, ARGV[1])
        end";
    let address = address.to_string();
    for ids in ids.chunks(1000) {
        let mut call = redis::cmd("EVAL");
        call.arg(RESERVE).arg(2).arg("{kengine}:load").arg(format!("{{kengine}}:reserved:{address}"));
        call.arg(&address).arg(lasting.as_millis().to_string()).arg(ids);
        call.exec_async(&mut directory.redis).await.unwrap();
    }
}

/// A snapshot of what the directory holds about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NodeLoad {
    load: usize,
    connections: usize,
    reserved: usize,
}

async fn load_of(directory: &mut Directory, address: impl ToString) -> NodeLoad {
    const SNAPSHOT: &str = "
        return {redis.call('ZSCORE', KEYS[1], KEYS[2]), redis.call('GET', KEYS[2]), redis.call('ZCARD', KEYS[3])}";
    let address = address.to_string();
    let mut call = redis::cmd("EVAL");
    call.arg(SNAPSHOT).arg(3).arg("{kengine}:load").arg(&address).arg(format!("{{kengine}}:reserved:{address}"));
    let (load, connections, reserved) = call.query_async(&mut directory.redis).await.unwrap();
    let counts = NodeLoad { load, connections, reserved };
    assert_eq!(load, connections + reserved, "{counts:?}");
    counts
}

/// Waits until this many connections and reservations are counted.
async fn counted(directory: &mut Directory, address: impl ToString, connections: usize, reserved: usize) {
    let expected = NodeLoad { load: connections + reserved, connections, reserved };
    let address = address.to_string();
    until("a count", async || (load_of(directory, &address).await == expected).then_some(())).await;
}

/// Starts a node with its own Redis.
async fn node() -> (RedisServer, Directory, TestServer) {
    node_of(Town::node, LEASE).await
}

async fn node_of<D: Dispatcher>(
    node: impl FnOnce(&str, Duration) -> Server<D>,
    lease: Duration,
) -> (RedisServer, Directory, TestServer) {
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let server = TestServer::start(node(&redis.url(), lease)).await;
    directory.count_is(server.address(), Some(0)).await;
    (redis, directory, server)
}

/// Waits until `/readyz` reports that the directory is away, or that it is not.
async fn is_away(address: SocketAddr, away: bool) {
    until("another answer of `/readyz`", async || {
        let response = Upgrade::new(address).path("/readyz").ask(address).await;
        (response.body.contains("away") == away).then_some(())
    })
    .await;
}

/// Opens a connection with this request and waits until it is counted.
async fn open_by(request: Upgrade, address: SocketAddr) -> RawClient {
    let mut player = request.open(address).await;
    player.heartbeat().await;
    player
}

async fn open(address: SocketAddr, id: impl Into<String>) -> RawClient {
    open_by(Upgrade::new(address).and(FIELD, id), address).await
}

#[tokio::test]
async fn a_player_counts_once_from_the_reservation_to_the_end() {
    const PLAYERS: usize = 300;
    // Heartbeats and connection counts alternate.
    let (_redis, mut directory, server) = node_of(Town::node, OFTEN).await;
    let address = server.address();
    reserve(&mut directory, address, &ids(PLAYERS), LONG).await;
    assert_eq!(load_of(&mut directory, address).await, NodeLoad { load: PLAYERS, connections: 0, reserved: PLAYERS });
    let arriving = tokio::spawn(async move {
        let mut players = Vec::new();
        for number in 0..PLAYERS {
            players.push(open(address, id(number)).await);
        }
        players
    });
    until("all connections", async || {
        let counts = load_of(&mut directory, address).await;
        // One connection may be counted just now whose reservation is not redeemed yet.
        assert!((PLAYERS..=PLAYERS + 1).contains(&counts.load), "{counts:?}");
        (counts.reserved == 0).then_some(())
    })
    .await;
    counted(&mut directory, address, PLAYERS, 0).await;
    drop(arriving.await.unwrap());
    counted(&mut directory, address, 0, 0).await;
    server.stop().await;
    assert_eq!(directory.keys().await, [""; 0]);
}

#[tokio::test]
async fn a_refused_client_gives_its_seat_back() {
    type Change = fn(Upgrade) -> Upgrade;
    let rows: [(_, (Change, u16)); 6] = [
        ("no upgrade", (|request| request.without("Upgrade"), 426)),
        ("no key", (|request| request.without("Sec-WebSocket-Key"), 400)),
        ("a foreign origin", (|request| request.with("Origin", "https://evil.example"), 403)),
        ("a foreign subprotocol", (|request| request.with("Sec-WebSocket-Protocol", "chat"), 400)),
        ("large header fields", (|request| request.with("X", "x".repeat(20_000)), 431)),
        ("by `#[accept]`", (|request| request.path("/ws?uid=%00"), 400)),
    ];
    let (_redis, directory, server) = node().await;
    let address = server.address();
    for (name, (change, status)) in rows {
        let mut directory = directory.clone();
        reserve(&mut directory, address, &ids(1), LONG).await;
        let request = change(Upgrade::new(address)).and(FIELD, id(0));
        assert_eq!(request.ask(address).await.status, status, "{name}");
        counted(&mut directory, address, 0, 0).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_client_without_room_gives_its_seat_back() {
    let (_redis, mut directory, mut server) =
        node_of(|url, lease| Town::node(url, lease).max_connections(1), LEASE).await;
    let address = server.address();
    let mut player = open(address, id(0)).await;
    reserve(&mut directory, address, &ids(1), LONG).await;
    let request = Upgrade::new(address).and(FIELD, id(0));
    assert_eq!(request.ask(address).await.status, 503, "it is full");
    counted(&mut directory, address, 1, 0).await;

    server.shut_down();
    // The player does not answer the close frame, so the node cannot end.
    assert_eq!(player.frame().await, "close 4000");
    reserve(&mut directory, address, &ids(1), LONG).await;
    assert_eq!(request.ask(address).await.status, 503, "it drains");
    counted(&mut directory, address, 1, 0).await;
    player.answer_close(1000).await;
    server.ended().await;
}

#[tokio::test]
async fn a_seat_stays_reserved_during_the_handshake() {
    let keeper = Doorkeeper::default();
    let gate = keeper.gate.clone();
    let (_redis, mut directory, server) =
        node_of(|url, lease| Server::new(keeper).cluster(Redis::new(url).lease(lease)), LEASE).await;
    let address = server.address();
    let request = Upgrade::new(address).and(FIELD, id(0));

    reserve(&mut directory, address, &ids(2), LONG).await;
    let mut http = HttpClient::connect(address).await;
    http.send(&request.bytes()).await;
    gate.arrived(1).await;
    // Another client comes and goes. When the node reports its reservation, it would also report the first.
    let mut other = HttpClient::connect(address).await;
    other.send(&Upgrade::new(address).and(FIELD, id(1)).bytes()).await;
    gate.arrived(1).await;
    drop(other);
    counted(&mut directory, address, 0, 1).await;
    gate.open(2);
    assert_eq!(http.response(false).await.status, 101);
    counted(&mut directory, address, 1, 0).await;
    drop(http);
    counted(&mut directory, address, 0, 0).await;
    server.stop().await;
}

#[tokio::test]
async fn an_invalid_reservation_has_no_effect() {
    const TRUE: &str = "0abcdefabcdefabcdefabcdefabcdef0";
    let rows = [
        ("nothing", vec![String::new()]),
        ("a digit less", vec![TRUE[1..].to_owned()]),
        ("a sign", vec![TRUE.replacen('0', "+", 1)]),
        ("a digit more", vec![format!("0{TRUE}")]),
        ("upper case", vec![TRUE.to_uppercase()]),
        ("a prefix", vec![format!("0x{TRUE}")]),
        ("a space inside", vec![TRUE.replacen('0', " ", 1)]),
        ("no digits", vec!["z".repeat(32)]),
        ("more than one", vec![format!("{TRUE},{TRUE}")]),
        ("a name", vec!["{kengine}:load".to_owned()]),
        ("beyond ASCII", vec!["\u{e4}".repeat(16)]),
        ("another's id", vec![id(7)]),
        ("given twice", vec![TRUE.to_owned(), TRUE.to_owned()]),
        ("given twice, otherwise", vec![TRUE.to_owned(), id(7)]),
    ];
    let (_redis, mut directory, server) = node().await;
    let address = server.address();
    reserve(&mut directory, address, &[TRUE.to_owned()], LONG).await;
    let mut players = Vec::new();
    for (name, values) in rows {
        let named = |request: Upgrade, value| request.and(FIELD, value);
        players.push(open_by(values.into_iter().fold(Upgrade::new(address), named), address).await);
        eprintln!("{name}");
        counted(&mut directory, address, players.len(), 1).await;
    }
    players.push(open(address, TRUE).await);
    counted(&mut directory, address, players.len(), 0).await;
    drop(players);
    server.stop().await;
}

#[tokio::test]
async fn a_reservation_used_twice_is_one_seat() {
    let (_redis, mut directory, server) = node().await;
    let address = server.address();
    reserve(&mut directory, address, &ids(2), LONG).await;
    let players = [open(address, id(0)).await, open(address, id(0)).await];
    counted(&mut directory, address, 2, 1).await;
    drop(players);
    counted(&mut directory, address, 0, 1).await;
    server.stop().await;
}

#[tokio::test]
async fn an_expired_reservation_goes_with_the_next_connection() {
    let (_redis, mut directory, server) = node().await;
    let address = server.address();
    reserve(&mut directory, address, &ids(3), Duration::ZERO).await;
    assert_eq!(load_of(&mut directory, address).await.load, 3);
    let player = Client::connect(address).await;
    counted(&mut directory, address, 1, 0).await;
    drop(player);
    server.stop().await;
}

#[tokio::test]
async fn seats_are_given_back_when_redis_returns() {
    const PLAYERS: usize = 20;
    let redis = RedisServer::start().await;
    let proxy = Proxy::start(redis.port()).await;
    let mut directory = redis.directory().await;
    let server = TestServer::start(Town::node(&proxy.url(), OFTEN)).await;
    let address = server.address();
    directory.count_is(address, Some(0)).await;
    reserve(&mut directory, address, &ids(PLAYERS), LONG).await;
    proxy.set(Network::Refused);
    is_away(address, true).await;
    let mut players = Vec::new();
    for number in 0..PLAYERS {
        players.push(open(address, id(number)).await);
    }
    assert_eq!(load_of(&mut directory, address).await.reserved, PLAYERS);
    proxy.set(Network::Good);
    until("all connections", async || {
        let counts = load_of(&mut directory, address).await;
        assert_eq!(counts.load, PLAYERS, "{counts:?}");
        (counts.reserved == 0).then_some(())
    })
    .await;
    drop(players);
    server.stop().await;
}

#[tokio::test]
async fn a_flood_of_redeemed_reservations_is_bounded() {
    const TOO_MANY: usize = 300;
    let redis = RedisServer::start().await;
    let proxy = Proxy::start(redis.port()).await;
    let mut directory = redis.directory().await;
    let server = TestServer::start(Town::node(&proxy.url(), LEASE)).await;
    let address = server.address();
    directory.count_is(address, Some(0)).await;
    reserve(&mut directory, address, &ids(TOO_MANY + WAITING), LONG).await;
    proxy.set(Network::Refused);
    // The node notices the outage only when it has a count to send.
    drop(Client::connect(address).await);
    is_away(address, true).await;
    let mut http = HttpClient::connect(address).await;
    let refused = Upgrade::new(address).without("Upgrade");
    for ids in ids(TOO_MANY + WAITING).chunks(100) {
        let requests: Vec<_> = ids.iter().flat_map(|id| refused.clone().and(FIELD, id).bytes()).collect();
        http.send(&requests).await;
        for _ in ids {
            assert_eq!(http.response(false).await.status, 426);
        }
    }
    proxy.set(Network::Good);
    counted(&mut directory, address, 0, TOO_MANY).await;
    let mut left = redis::cmd("ZRANGE");
    left.arg(format!("{{kengine}}:reserved:{address}")).arg(0).arg(-1);
    let left: Vec<String> = left.query_async(&mut directory.redis).await.unwrap();
    assert_eq!(left, ids(TOO_MANY));
    server.stop().await;
}

#[tokio::test]
async fn a_mounted_dispatcher_gives_seats_back_as_well() {
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let place = Redis::new(redis.url()).lease(LEASE).advertise(address.to_string());
    let game = Server::new(Lobby).cluster(place).into_service().unwrap();
    let serving = serve_router(listener, axum::Router::new().route_service("/ws", game.clone()));
    directory.count_is(address, Some(0)).await;
    reserve(&mut directory, address, &ids(2), LONG).await;
    let player = open(address, id(0)).await;
    counted(&mut directory, address, 1, 1).await;
    let refused = Upgrade::new(address).without("Sec-WebSocket-Key").and(FIELD, id(1));
    assert_eq!(refused.ask(address).await.status, 400);
    counted(&mut directory, address, 1, 0).await;
    drop(player);
    game.drain().await;
    assert_eq!(directory.keys().await, [""; 0]);
    drop(serving);
}
