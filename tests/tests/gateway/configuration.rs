//! The gateway's nginx configuration: it is valid, it lets only configured paths through, and it logs no secrets.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use kengine::{Handshake, Refusal, Server, Session, cluster::Redis, cluster::gateway::Gateway};
use kengine_tests::{
    Certificate, Client, ClientFrame, Folder, HttpClient, NodeProcess, RedisServer, TestGateway, TestServer, Town,
    Upgrade, free_address, luacheck, nginx, segment,
};

const LEASE: Duration = Duration::from_secs(6);

#[test]
fn nginx_accepts_every_configuration_without_a_warning() {
    let certificate = Certificate::new();
    let [key, chain] = ["key.pem", "cert.pem"].map(|file| certificate.path(file));
    let plain = || Gateway::new("redis://127.0.0.1/").listen("127.0.0.1:8080").standalone();
    for gateway in [
        plain(),
        plain().tls(chain, key),
        Gateway::new("redis://redis.example/").resolver("127.0.0.53 ipv6=off").standalone(),
        Gateway::new("redis://127.0.0.1/").listen("[::1]:8080 ipv6only=off").standalone(),
        plain().trusted_proxies([
            "10.0.0.2",
            "10.0.0.9/8",
            "10.1.1.1/8",
            "127.0.0.1",
            "127.0.0.0/8",
            "::1",
            "2001:db8::/32",
        ]),
        plain().max_connections_per_address(u16::MAX).max_requests_per_second_per_address(u32::MAX, u32::MAX),
        plain().idle_timeout(Duration::from_millis(900)).max_connections(100),
        plain().sockets(["/ws", "/admin"]).pages(["/", "/a-page's(name);"]),
        plain().affinity("player", "world\\\"\n").room_lifetime(Duration::from_millis(1)),
    ] {
        let folder = Folder::new();
        let conf = gateway.write(&folder).expect("a folder of ours");
        let tested = nginx(&conf).arg("-t").output().expect("nginx starts");
        let printed = String::from_utf8_lossy(&tested.stderr);
        let expected = format!(
            "nginx: the configuration file {0} syntax is ok\nnginx: configuration file {0} test is successful\n",
            conf.display()
        );
        assert_eq!(printed, expected, "{gateway:?}");
    }
}

#[test]
fn invalid_settings_are_reported() {
    let folder = Folder::new();
    let missing = folder.join("missing");
    let plain = || Gateway::new("redis://127.0.0.1/");
    for (gateway, words) in [
        (plain().listen("80; }"), "`80;` is not valid in nginx's configuration"),
        (plain().resolver("10.0.0.1; a"), "`10.0.0.1;` is not valid"),
        (plain().tls("a b", "c"), "`a b` is not valid"),
        (plain().pages(["page"]), "invalid path `page`: begin it with `/`"),
        (plain().pages(["/a b"]), "invalid path `/a b`"),
        (plain().trusted_proxies(["proxy.example"]), "`proxy.example` is not the address of a proxy"),
        (plain().max_connections_per_address(0), "a limit per address must be at least 1"),
        (plain().max_requests_per_second_per_address(0, 1), "a limit per address must be at least 1"),
        (plain().max_requests_per_second_per_address(1, 0), "a limit per address must be at least 1"),
        (plain().max_reservations_per_address(0), "a limit per address must be at least 1"),
        (plain().sockets(["/ws?x"]), "invalid path `/ws?x`"),
        (Gateway::new("redis://db/"), "nginx cannot resolve `db`: set a DNS server with `Gateway::resolver`"),
        (Gateway::new("rediss://127.0.0.1/"), "a certificate by name, not by address"),
        (Gateway::new("nonsense"), "invalid Redis URL"),
    ] {
        let error = gateway.write(&missing).expect_err("a mistake").to_string();
        assert!(error.contains(words), "{error}");
        assert!(!missing.exists(), "a mistake leaves no file");
    }
    let error = plain().write("/proc/nowhere").expect_err("no folder").to_string();
    assert!(error.contains("cannot write `/proc/nowhere`"), "{error}");
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_the_password() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let gateway = Gateway::new("redis://:secret@127.0.0.1/");
    // The file exists already the second time.
    for _ in 0..2 {
        let conf = gateway.write(&folder).expect("a folder of ours");
        assert!(!fs::read_to_string(conf).expect("a file").contains("secret"));
        let settings = folder.join("settings.lua");
        assert!(fs::read_to_string(&settings).expect("a file").contains("secret"));
        assert_eq!(fs::metadata(&settings).expect("a file").permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&settings, fs::Permissions::from_mode(0o644)).expect("our own file");
    }
}

/// Checks that there are no global, unused or shadowed variables.
#[test]
fn luacheck_finds_no_fault() {
    let kengine = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kengine");
    let (gateway, scripts) = (kengine.join("openresty"), kengine.join("src/cluster/redis/scripts"));
    let files = |folder| fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").path());
    let lua = files(gateway).filter(|path| path.extension().is_some_and(|extension| extension == "lua"));
    // The other files run inside Redis.
    let is_in_nginx = |path: &PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy();
        name.starts_with("kengine") || name == "settings.lua"
    };
    let (in_nginx, mut in_redis): (Vec<_>, Vec<_>) = lua.partition(is_in_nginx);
    in_redis.extend(files(scripts));
    for check in [
        luacheck().args(["--std", "ngx_lua"]).args(in_nginx),
        luacheck().args(["--std", "lua51", "--read-globals", "redis", "KEYS", "ARGV", "--"]).args(in_redis),
    ] {
        let checked = check.output().expect("luacheck starts");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    }
}

#[tokio::test]
async fn only_configured_paths_are_reached() {
    let redis = RedisServer::start().await;
    let server = Town::node(&redis.url(), LEASE).page("/", "text/plain", "the page").page(
        "/metrics",
        "text/plain",
        "not for players",
    );
    let node = TestServer::start(server).await;
    redis.directory().await.count_is(node.address(), Some(0)).await;
    let gateway = TestGateway::start(&redis.url()).await;
    let address = gateway.address();
    let get = async |target: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        HttpClient::connect(address).await.request(request.as_bytes()).await
    };
    assert_eq!(get("/").await.body, "the page");
    assert_eq!(get("/?a=b").await.body, "the page");
    assert_eq!(get("//").await.body, "the page", "another spelling of the same path");
    // The node answers this one itself.
    assert_eq!(get("/ws").await.status, 426);
    let absolute = format!("http://{address}/metrics");
    for target in [
        "/metrics",
        "/readyz",
        "/healthz",
        "/console",
        "/ws/",
        "/WS",
        "/ws/../metrics",
        "/%6detrics",
        "/ws%2f..%2fmetrics",
        "//metrics",
        "/./metrics",
        "/metrics/",
        "/metrics?/ws",
        "/metrics#/ws",
        "/ws;/../metrics",
        "/%2e%2e/metrics",
        "/ws%00",
        "/ws%20",
        "/ws/..;/metrics",
        &absolute,
    ] {
        let answer = get(target).await;
        assert!([400, 404].contains(&answer.status), "{target}: {answer:?}");
        assert!(!answer.body.contains("not for players"), "{target}: {answer:?}");
    }
    let lost = get("/metrics").await;
    assert_eq!((lost.status, lost.error_code().as_str()), (404, "not_found"));
}

#[tokio::test]
async fn only_a_valid_request_for_a_websocket_reserves_a_seat() {
    let redis = RedisServer::start().await;
    let node = TestServer::start(Town::node(&redis.url(), LEASE)).await;
    let mut directory = redis.directory().await;
    directory.count_is(node.address(), Some(0)).await;
    let gateway = TestGateway::start(&redis.url()).await;
    let address = gateway.address();
    let upgrade = || Upgrade::new(address);
    for (request, status) in [
        (upgrade().method("POST"), 405),
        (upgrade().path("/"), 404),
        (upgrade().version("HTTP/1.0"), 426),
        (upgrade().without("Upgrade"), 426),
        (upgrade().without("Connection"), 426),
        (upgrade().with("Sec-WebSocket-Version", "12").path("/ws?room=r"), 426),
        (upgrade().without("Sec-WebSocket-Version"), 400),
        (upgrade().with("Sec-WebSocket-Key", "short"), 400),
    ] {
        let answer = request.ask(address).await;
        let reserved = directory.load(node.address()).await;
        assert_eq!((answer.status, reserved), (status, Some(0)), "{request:?}: {answer:?}");
    }
    let keys = directory.keys().await;
    assert!(
        !keys.iter().any(|key| key.starts_with("kengine:room:")),
        "a refused request has reserved a room: {keys:?}"
    );
    // The gateway passes on a request that only a node can refuse.
    assert_eq!(upgrade().and("Origin", "https://elsewhere.example").ask(address).await.status, 403);
}

/// The header fields that a node has received.
struct Fields(BTreeMap<String, String>);

impl Session for Fields {}

struct Mirror;

#[kengine::dispatcher]
impl Mirror {
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<Fields, Refusal> {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let fields = handshake.headers().iter();
        Ok(Fields(fields.map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect()))
    }

    #[route]
    async fn fields(&self, session: &Fields) -> BTreeMap<String, String> {
        session.0.clone()
    }
}

async fn fields_of(upgrade: Upgrade, gateway: &TestGateway) -> BTreeMap<String, String> {
    let mut client = upgrade.open(gateway.address()).await;
    client.send_frames([ClientFrame::text(r#"{"method":"fields"}"#)]).await;
    let frame = client.next().await.expect("an answer");
    serde_json::from_slice(&frame.payload).expect("a map")
}

#[tokio::test]
async fn a_client_cannot_forge_the_fields_of_the_gateway() {
    let redis = RedisServer::start().await;
    let node = TestServer::start(Server::new(Mirror).cluster(Redis::new(redis.url()))).await;
    redis.directory().await.count_is(node.address(), Some(0)).await;
    let gateway = TestGateway::start(&redis.url()).await;
    let address = gateway.address();
    let forged = Upgrade::new(address)
        .and("Kengine-Reservation", "0123456789abcdef0123456789abcdef")
        .and("X-Forwarded-For", "192.0.2.1")
        .and("X-Forwarded-Proto", "https")
        .and("Sec-WebSocket-Protocol", "kengine.v1.json")
        .and("Cookie", "a=b");
    let fields = fields_of(forged, &gateway).await;
    let field = |name: &str| fields.get(name).map(String::as_str);
    let reservation = field("kengine-reservation").expect("a reservation");
    assert!(reservation.len() == 32 && reservation.chars().all(|char| char.is_ascii_hexdigit()), "{reservation}");
    assert_ne!(reservation, "0123456789abcdef0123456789abcdef");
    assert_eq!(field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(field("x-forwarded-proto"), Some("http"));
    assert_eq!(field("host"), Some(&*address.to_string()), "the port is missing, which is needed to compare origins");
    assert_eq!(field("sec-websocket-protocol"), Some("kengine.v1.json"));
    assert_eq!(field("cookie"), Some("a=b"));
}

#[tokio::test]
async fn no_query_is_logged() {
    let redis = RedisServer::start().await;
    let mut directory = redis.directory().await;
    let mut node = NodeProcess::start(env!("CARGO_BIN_EXE_node"), free_address(), &redis.url(), LEASE).await;
    directory.count_is(node.address(), Some(0)).await;
    let gateway = TestGateway::start(&redis.url()).await;
    let address = gateway.address();
    let boot = directory.node(node.address(), "boot").await.expect("a boot id");
    let resume = format!("/ws?token=secret&resume={}-{}", &boot[..8], "5ec7e7".repeat(6).split_at(32).0);
    let mut client = Client::connect_to(address, &resume).await;
    client.close(1000).await;
    for path in ["/?token=secret", "/metrics?token=secret", "/ws?token=secret"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nReferer: /?secret\r\n\r\n");
        HttpClient::connect(address).await.request(request.as_bytes()).await;
    }
    node.kill();
    assert_eq!(Upgrade::new(address).path("/ws?token=secret").ask(address).await.status, 503);
    let accesses = kengine_tests::until("five lines", async || {
        let accesses = gateway.accesses();
        (accesses.lines().count() >= 5).then_some(accesses)
    })
    .await;
    assert!(accesses.contains(r#""GET /ws" 101 "#), "{accesses}");
    assert!(!accesses.contains("secret") && !accesses.contains("5ec7e7"), "{accesses}");
    // There was no other error either, and no line of Lua created a global variable.
    assert_eq!(gateway.errors(), "");
}

#[tokio::test]
async fn tls_ends_at_the_gateway() {
    let redis = RedisServer::start().await;
    let node = TestServer::start(Town::node(&redis.url(), LEASE).page("/", "text/plain", "the page")).await;
    redis.directory().await.count_is(node.address(), Some(0)).await;
    let certificate = Certificate::new();
    let tls = Gateway::new(redis.url()).tls(certificate.path("cert.pem"), certificate.path("key.pem"));
    let gateway = TestGateway::start_from(tls).await;
    let at = gateway.address().to_string();
    let mut asked = format!("GET / HTTP/1.1\r\nHost: {at}\r\n\r\n").into_bytes();
    asked.extend(Upgrade::new(gateway.address()).and("Origin", format!("https://{at}")).bytes());
    // After the close frame the node ends the connection, and so openssl ends.
    asked.extend(segment([ClientFrame::text("p"), ClientFrame::close(1000, "")]));
    let folder = Folder::new();
    let request = folder.join("request");
    fs::write(&request, asked).expect("a file of ours");
    let mut openssl = Command::new("openssl");
    openssl
        .args(["s_client", "-quiet", "-verify_return_error", "-connect", &at, "-CAfile"])
        .arg(certificate.path("cert.pem"))
        .stdin(fs::File::open(&request).expect("the file"));
    let output = tokio::task::spawn_blocking(move || openssl.output()).await.expect("no panic");
    let output = String::from_utf8_lossy(&output.expect("openssl starts").stdout).into_owned();
    assert!(output.starts_with("HTTP/1.1 200") && output.contains("the page"), "{output}");
    assert!(output.contains("HTTP/1.1 101") && output.contains("\u{1}q"), "{output}");
}
