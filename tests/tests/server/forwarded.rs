//! The address of a player: only trusted proxies may set it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use kengine::{Handshake, Server, Session, StartError, testing};
use kengine_tests::{ClientFrame, TestServer, Upgrade, every_row, serve_router};
use tokio::net::TcpListener;

const FIELD: &str = "X-Forwarded-For";
/// Two proxies and two networks of proxies.
const TRUSTED: [&str; 4] = ["10.0.0.2", "192.168.0.0/16", "::1", "fd00::/8"];
const PROXY: &str = "10.0.0.2";

/// Tells each player their address.
#[derive(Debug)]
struct Atlas;

struct Player {
    ip: Option<IpAddr>,
    peer: Option<SocketAddr>,
}

impl Session for Player {}

#[kengine::dispatcher]
impl Atlas {
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Player {
        Player { ip: handshake.client_ip(), peer: handshake.peer() }
    }

    #[route]
    async fn whereabouts(&self, player: &Player) -> Option<IpAddr> {
        player.ip
    }

    #[route]
    async fn peer(&self, player: &Player) -> Option<IpAddr> {
        player.peer.map(|peer| peer.ip())
    }
}

fn ip(ip: &str) -> IpAddr {
    ip.parse().unwrap()
}

fn at(peer: &str) -> SocketAddr {
    SocketAddr::new(ip(peer), 50_000)
}

/// Returns a player's address as a server sees it that trusts these proxies.
async fn whereabouts(trusted: &[&str], peer: &str, fields: &[&str]) -> IpAddr {
    let served = testing::serve(Server::new(Atlas).trusted_proxies(trusted.iter().copied()));
    let mut request = served.connect("/ws").peer(at(peer));
    for field in fields {
        request = request.header(FIELD, *field);
    }
    let mut player = request.await.unwrap();
    player.request::<Option<IpAddr>>("whereabouts", &()).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_trusted_proxy_tells_where_a_player_is() {
    let rows = [
        ("a proxy by its address", (PROXY, "203.0.113.7", "203.0.113.7")),
        ("a proxy by its network", ("192.168.77.1", "203.0.113.7", "203.0.113.7")),
        ("the first of a network", ("192.168.0.0", "203.0.113.7", "203.0.113.7")),
        ("the last of a network", ("192.168.255.255", "203.0.113.7", "203.0.113.7")),
        ("just below a network", ("192.167.255.255", "203.0.113.7", "192.167.255.255")),
        ("just above a network", ("192.169.0.0", "203.0.113.7", "192.169.0.0")),
        ("the address after a proxy's", ("10.0.0.3", "203.0.113.7", "10.0.0.3")),
        ("a proxy of IPv6", ("::1", "203.0.113.7", "203.0.113.7")),
        ("a proxy by its network of IPv6", ("fd12::7", "2001:db8::7", "2001:db8::7")),
        ("just above a network of IPv6", ("fe00::7", "2001:db8::7", "fe00::7")),
        ("a proxy of IPv4 in IPv6", ("::ffff:10.0.0.2", "203.0.113.7", "203.0.113.7")),
        ("a proxy by its network of IPv4, in IPv6", ("::ffff:192.168.1.1", "203.0.113.7", "203.0.113.7")),
        ("a stranger of IPv4 in IPv6", ("::ffff:10.0.0.3", "203.0.113.7", "10.0.0.3")),
        ("a player of IPv4 in IPv6", (PROXY, "::ffff:203.0.113.7", "203.0.113.7")),
        ("a player with a port", (PROXY, "203.0.113.7:4711", "203.0.113.7")),
        ("a player of IPv6 with a port", (PROXY, "[2001:db8::7]:4711", "2001:db8::7")),
        ("a player between spaces", (PROXY, "\t 203.0.113.7 ", "203.0.113.7")),
        ("after entries that the client wrote", (PROXY, "198.51.100.1, 10.0.0.2,203.0.113.7", "203.0.113.7")),
        ("after an entry that is not an address", (PROXY, "unknown, 203.0.113.7", "203.0.113.7")),
        ("another proxy last, whose entries do not count", (PROXY, "203.0.113.7, 192.168.0.9", "192.168.0.9")),
        ("an empty field", (PROXY, "", PROXY)),
        ("an empty last entry", (PROXY, "203.0.113.7,", PROXY)),
        ("a word", (PROXY, "203.0.113.7, unknown", PROXY)),
        ("a name", (PROXY, "game.example", PROXY)),
        ("half an address", (PROXY, "203.0.113", PROXY)),
        ("two with a space", (PROXY, "203.0.113.7 203.0.113.8", PROXY)),
        ("a network", (PROXY, "203.0.113.0/24", PROXY)),
    ];
    every_row(rows, async |(peer, field, expected)| {
        assert_eq!(whereabouts(&TRUSTED, peer, &[field]).await, ip(expected));
    })
    .await;
}

#[tokio::test]
async fn the_last_of_several_fields_counts() {
    for (fields, expected) in [
        (&["198.51.100.1", "203.0.113.7"][..], "203.0.113.7"),
        (&["198.51.100.1, 198.51.100.2", "198.51.100.3, 203.0.113.7"], "203.0.113.7"),
        (&["203.0.113.7", "unknown"], PROXY),
        (&["203.0.113.7", ""], PROXY),
        (&["unknown", "203.0.113.7"], "203.0.113.7"),
        (&[], PROXY),
    ] {
        assert_eq!(whereabouts(&TRUSTED, PROXY, fields).await, ip(expected), "{fields:?}");
    }
}

/// Entries that a client may write.
const WRITTEN: [&str; 6] = ["203.0.113.7", "10.0.0.2", "::1", "[::1]:80", "unknown", ""];

/// Returns pairs of fields that a client may write: every field of one or two entries, and after it every one of one
/// entry.
fn written() -> impl Iterator<Item = [String; 2]> {
    let entries = || WRITTEN.iter().map(|entry| (*entry).to_owned());
    let fields = move || {
        let pairs = entries().flat_map(move |one| entries().map(move |other| format!("{one},{other}")));
        entries().chain(pairs)
    };
    fields().flat_map(move |one| entries().map(move |other| [one.clone(), other]))
}

/// Serves players who may all have one address.
fn crowded(trusted: &[&str]) -> testing::Served<Atlas> {
    let server = Server::new(Atlas).trusted_proxies(trusted.iter().copied());
    testing::serve(server.max_handshakes_per_second_per_address(1, u32::MAX).max_connections_per_address(usize::MAX))
}

#[tokio::test]
async fn an_untrusted_peer_cannot_forge_its_address() {
    for trusted in [&TRUSTED[..], &[]] {
        let served = crowded(trusted);
        for [one, other] in written() {
            for peer in ["203.0.113.99", "2001:db8::99"] {
                let request = served.connect("/ws").peer(at(peer)).header(FIELD, &one).header(FIELD, &other);
                let mut player = request.await.unwrap();
                let told: Option<IpAddr> = player.request("whereabouts", &()).await.unwrap();
                assert_eq!(told, Some(ip(peer)), "with {one:?} and {other:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_client_cannot_forge_its_address_to_a_trusted_proxy() {
    let served = crowded(&TRUSTED);
    for [one, other] in written() {
        // A proxy appends to the last field, or adds a field.
        for fields in
            [[one.clone(), format!("{other}, 203.0.113.99")], [format!("{one},{other}"), "203.0.113.99".to_owned()]]
        {
            let [one, other] = &fields;
            let request = served.connect("/ws").peer(at(PROXY)).header(FIELD, one).header(FIELD, other);
            let told: Option<IpAddr> = request.await.unwrap().request("whereabouts", &()).await.unwrap();
            assert_eq!(told, Some(ip("203.0.113.99")), "{fields:?}");
        }
    }
}

/// Asks for both addresses over TCP and returns the answers.
async fn answers(address: SocketAddr, field: &str) -> [String; 2] {
    let mut player = Upgrade::new(address).and(FIELD, field).open(address).await;
    let questions = [r#"{"method":"whereabouts","id":"ip"}"#, r#"{"method":"peer","id":"peer"}"#];
    player.send_frames(questions.map(ClientFrame::text)).await;
    [player.frame().await, player.frame().await]
}

#[tokio::test]
async fn the_peer_is_always_that_of_the_socket() {
    for (trusted, field, expected) in [
        ("127.0.0.1", "198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("127.0.0.2", "198.51.100.1, 203.0.113.7", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.7\u{e4}", "127.0.0.1"),
    ] {
        let server = TestServer::start(Server::new(Atlas).trusted_proxies([trusted])).await;
        let expected = [format!(r#""ip": "{expected}""#), r#""peer": "127.0.0.1""#.to_owned()];
        assert_eq!(answers(server.address(), field).await, expected);
        server.stop().await;
    }
}

#[tokio::test]
async fn every_endpoint_trusts_the_same_proxies() {
    let served = testing::serve(Server::new(Atlas).endpoint("/admin", Atlas).trusted_proxies(TRUSTED));
    for path in ["/ws", "/admin"] {
        let request = served.connect(path).peer(at(PROXY)).header(FIELD, "203.0.113.7");
        let told: Option<IpAddr> = request.await.unwrap().request("whereabouts", &()).await.unwrap();
        assert_eq!(told, Some(ip("203.0.113.7")), "at {path}");
    }
}

#[tokio::test]
async fn a_dual_stack_socket_trusts_an_ipv4_proxy() {
    let Ok(bound) = Server::new(Atlas).trusted_proxies(["127.0.0.1"]).bind("[::]:0").await else {
        // This machine has no IPv6. The rows above test IPv4 addresses in IPv6.
        return;
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, bound.local_addr().port()));
    let serving = tokio::spawn(bound.serve_until(std::future::pending()));
    let expected = [r#""ip": "203.0.113.7""#, r#""peer": "::ffff:127.0.0.1""#];
    assert_eq!(answers(address, "203.0.113.7").await, expected);
    serving.abort();
}

#[tokio::test]
async fn a_mounted_dispatcher_trusts_no_proxy() {
    let game = Server::new(Atlas).trusted_proxies(["0.0.0.0/0", "::/0"]).into_service().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = serve_router(listener, axum::Router::new().route_service("/ws", game));
    assert_eq!(answers(address, "203.0.113.7").await, [r#""ip": null"#, r#""peer": null"#]);
    serving.stop().await;
}

#[tokio::test]
async fn an_invalid_proxy_address_is_an_error_at_start() {
    let rows = [
        ("a name", "gateway.example"),
        ("nothing", ""),
        ("with a port", "10.0.0.2:8000"),
        ("with a space", "10.0.0.2 "),
        ("half an address", "10.0.0"),
        ("a prefix too long", "10.0.0.0/33"),
        ("a prefix of IPv6 too long", "fd00::/129"),
        ("no prefix", "10.0.0.0/"),
        ("a mask", "10.0.0.0/255.255.255.0"),
        ("in brackets", "[::1]"),
        ("an asterisk", "*"),
        ("two", "10.0.0.2,10.0.0.3"),
        ("a network of IPv4 in IPv6", "::ffff:10.0.0.0/120"),
    ];
    every_row(rows, async |proxy| {
        let server = || Server::new(Atlas).trusted_proxies(["10.0.0.9", proxy, "::1"]);
        let bind = server().bind("127.0.0.1:0").await.expect_err("an error");
        let mount = server().into_service().expect_err("an error");
        for error in [bind, mount] {
            assert!(matches!(error, StartError::Config(_)), "{error}");
            let message = error.to_string();
            assert!(message.starts_with(&format!("`{proxy}` is not the address of a proxy; ")), "{message}");
            assert!(message.contains("10.0.0.0/24") && message.matches(';').count() == 1, "{message}");
        }
    })
    .await;

    let server = Server::new(Atlas).path("ws").origins(["game"]).trusted_proxies(["one", "other"]);
    let error = server.bind("127.0.0.1:0").await.expect_err("an error");
    let mistakes = error.to_string();
    for name in ["ws", "game", "one", "other"] {
        assert!(mistakes.contains(&format!("`{name}` is not ")), "{mistakes}");
    }
    assert_eq!(mistakes.matches(" is not ").count(), 4, "{mistakes}");
}

#[tokio::test]
async fn a_proxy_address_has_more_than_one_spelling() {
    assert_eq!(whereabouts(&["::ffff:10.0.0.2"], PROXY, &["203.0.113.7"]).await, ip("203.0.113.7"));
    assert_eq!(whereabouts(&["192.168.7.7/16"], "192.168.9.9", &["203.0.113.7"]).await, ip("203.0.113.7"));
}
