//! `Server::hosts`: which hosts a server answers to.

use kengine::{Server, StartError, testing};
use kengine_tests::{Lobby, Log, TestServer, Upgrade, every_row};
use tokio::net::TcpListener;
use tracing::Level;

type Names = &'static [&'static str];

const WARNING: &str = "a page of any name that resolves to this server may connect";

#[tokio::test]
async fn a_request_for_another_host_is_misdirected() {
    const GAME: Names = &["game.example"];
    const PORT: Names = &["game.example:8443"];
    const DEFAULT: Names = &["game.example:443", "Old.Example:80"];
    const MANY: Names = &["game.example", "LOCALHOST", "127.0.0.1:8000", "[0:0:0:0:0:0:0:1]"];
    let rows = [
        ("any host, if none is set", (&[] as Names, "evil.example", 101)),
        ("any host, if all are allowed", (&["*"], "evil.example", 101)),
        ("any host, if all are allowed beside one", (&["game.example", "*"], "evil.example", 101)),
        ("the host", (GAME, "game.example", 101)),
        ("the host in capitals", (GAME, "GAME.EXAMPLE", 101)),
        ("the host with a port", (GAME, "game.example:8000", 101)),
        ("another host", (GAME, "evil.example", 421)),
        ("a host below it", (GAME, "x.game.example", 421)),
        ("a host that starts with it", (GAME, "game.example.evil", 421)),
        ("a host that ends with it", (GAME, "evilgame.example", 421)),
        ("its name with a dot", (GAME, "game.example.", 421)),
        ("its name with an escape", (GAME, "g%61me.example", 421)),
        ("the address", (GAME, "127.0.0.1", 421)),
        ("the host with its port", (PORT, "game.example:8443", 101)),
        ("the host with its port and zeros", (PORT, "game.example:08443", 101)),
        ("the host with another port", (PORT, "game.example:8000", 421)),
        ("the host without its port", (PORT, "game.example", 421)),
        ("the default port", (DEFAULT, "game.example:443", 101)),
        ("the default port left out", (DEFAULT, "game.example", 101)),
        ("the default port left out, but not its colon", (DEFAULT, "game.example:", 101)),
        ("the default port of the other scheme", (DEFAULT, "game.example:80", 421)),
        ("the other default port left out", (DEFAULT, "old.example", 101)),
        ("a second name", (MANY, "localhost:1", 101)),
        ("an address with its port", (MANY, "127.0.0.1:8000", 101)),
        ("an address with another port", (MANY, "127.0.0.1:8001", 421)),
        ("an address of IPv6", (MANY, "[::1]:8000", 101)),
        ("another address of IPv6", (MANY, "[::2]:8000", 421)),
    ];
    every_row(rows, async |(hosts, host, status)| {
        let server = TestServer::start(Server::new(Lobby).hosts(hosts.iter().copied())).await;
        let response = Upgrade::new(server.address()).with("Host", host).ask(server.address()).await;
        assert_eq!(response.status, status, "{response:?}");
        if status == 421 {
            assert_eq!(response.error_code(), "misdirected_request");
            assert!(response.body.contains("add the host to `Server::hosts`"), "{response:?}");
        }
        // Orchestrators ask for it at the address of the node.
        let ready = Upgrade::new(server.address()).path("/readyz").ask(server.address()).await;
        assert_eq!(ready.status, 200, "{ready:?}");
        server.stop().await;
    })
    .await;
}

/// DNS rebinding: the page's own host resolves to this server, so its origin is that of the request's `Host`.
#[tokio::test]
async fn a_page_whose_host_is_rebound_to_the_server_cannot_connect() {
    let rows = [
        ("the server's page", ("Host: game.example", "http://game.example", 101)),
        ("an allowed page", ("Host: game.example", "https://play.example", 101)),
        ("a rebound page", ("Host: evil.example", "http://evil.example", 421)),
        ("a rebound page at the server's port", ("Host: evil.example:8000", "http://evil.example:8000", 421)),
        ("an allowed page at another host", ("Host: evil.example", "https://play.example", 421)),
        ("another page", ("Host: game.example", "http://evil.example", 403)),
        ("no host", ("Host:", "http://", 400)),
        ("a host that a proxy reports", ("Host: evil.example\r\nX-Forwarded-Host: game.example", "null", 421)),
    ];
    let server = Server::new(Lobby).hosts(["game.example"]).origins(["https://play.example"]);
    let server = TestServer::start(server.trusted_proxies(["127.0.0.1"])).await;
    every_row(rows, async |(host, origin, status)| {
        let value = host.strip_prefix("Host:").unwrap();
        let response =
            Upgrade::new(server.address()).with("Host", value).and("Origin", origin).ask(server.address()).await;
        assert_eq!(response.status, status, "{response:?}");
    })
    .await;
    // The host of an absolute target counts, and not `Host`.
    for (target, host, status) in [
        ("http://evil.example/ws", "game.example", 421),
        ("http://game.example/ws", "evil.example", 101),
        ("http://game.example:8000/ws", "evil.example", 101),
    ] {
        let response = Upgrade::new(server.address()).path(target).with("Host", host).ask(server.address()).await;
        assert_eq!(response.status, status, "{target} with {host}: {response:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn every_endpoint_answers_to_the_same_hosts() {
    let server = TestServer::start(Server::new(Lobby).endpoint("/admin", Lobby).hosts(["game.example"])).await;
    for path in ["/ws", "/admin"] {
        let upgrade = Upgrade::new(server.address()).path(path);
        assert_eq!(upgrade.clone().with("Host", "game.example").ask(server.address()).await.status, 101);
        assert_eq!(upgrade.ask(server.address()).await.status, 421, "at {path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_host_that_no_client_sends_is_an_error_of_bind() {
    let rows = [
        ("with a scheme", ("https://game.example", "write it without its scheme")),
        ("with a path", ("game.example/ws", "write a host")),
        ("with a user", ("ada@game.example", "write a host")),
        ("with a space", ("game example", "write a host")),
        ("empty", ("", "write a host")),
        ("a port alone", (":8000", "write a host")),
        ("without a port", ("game.example:", "write a host")),
        ("with a name for a port", ("game.example:https", "write a host")),
        ("with a port that is too large", ("game.example:65536", "write a host")),
        ("IPv6 without brackets", ("::1", "write a host")),
        ("for many", ("*.game.example", "write each host out, or `*` alone")),
        ("beyond ASCII", ("spiél.example", "write the host as browsers send it, in ASCII")),
    ];
    every_row(rows, async |(host, words)| {
        let refused = Server::new(Lobby).hosts([host]).bind("127.0.0.1:0").await.expect_err("an error");
        assert!(matches!(refused, StartError::Config(_)), "{refused}");
        let start = format!("`{host}` is not a host; {words}");
        assert!(refused.to_string().starts_with(&start), "{refused}");
    })
    .await;
}

#[tokio::test]
async fn a_test_client_names_a_host_that_the_server_answers_to() {
    for hosts in [&[] as Names, &["game.example"], &["game.example:8443", "localhost"], &["*"]] {
        let served = testing::serve(Server::new(Lobby).hosts(hosts.iter().copied()));
        served.connect("/ws").await.expect("an answer to its host");
        let other = served.connect("/ws").header("Host", "evil.example").await;
        let is_listed = hosts.iter().any(|host| *host != "*");
        assert_eq!(other.map_err(|refusal| refusal.status()).err(), is_listed.then_some(421), "{hosts:?}");
    }
}

#[tokio::test]
async fn a_server_that_trusts_every_host_warns_once_unless_it_is_local() {
    let open = || Server::new(Lobby);
    let rows = [
        ("all addresses", (open(), "0.0.0.0:0", 1)),
        ("this machine", (open(), "127.0.0.1:0", 0)),
        ("with origins", (open().origins(["https://game.example"]), "0.0.0.0:0", 1)),
        ("with hosts", (open().hosts(["game.example"]), "0.0.0.0:0", 0)),
        ("with all hosts", (open().hosts(["*"]), "0.0.0.0:0", 0)),
        ("with all origins", (open().origins(["*"]), "0.0.0.0:0", 0)),
    ];
    for (row, (server, address, warnings)) in rows {
        let log = Log::start(Level::WARN);
        let _bound = server.bind(address).await.expect("a free port");
        assert_eq!(log.lines_with(WARNING).len(), warnings, "{row}: {}", log.text());
    }
    let log = Log::start(Level::WARN);
    let given = TcpListener::bind("0.0.0.0:0").await.expect("a free port");
    let _bound = open().bind_to(given).expect("a listener");
    assert_eq!(log.lines_with(WARNING).len(), 1, "a given listener: {}", log.text());
}
