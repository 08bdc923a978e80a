//! A dispatcher that is mounted in a user's axum router.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn},
    routing::get,
};
use futures_util::FutureExt;
use kengine::{Connection, Push, Server, Service};
use kengine_tests::{
    Chat, Client, ClientFrame, Gate, Gatehouse, HttpClient, Lobby, RawClient, ServedRouter, Upgrade, every_row,
    segment, serve_router, until, within, without_rates,
};
use tokio::net::TcpListener;

/// Counts chats, floods a client, and tells each client its peer address.
#[derive(Default)]
struct Guests {
    chats: AtomicU32,
}

#[kengine::dispatcher]
impl Guests {
    #[route("chat")]
    async fn chat(&self, chat: Chat) -> String {
        self.chats.fetch_add(1, Ordering::SeqCst);
        chat.answer()
    }

    #[route]
    async fn chats(&self) -> u32 {
        self.chats.load(Ordering::SeqCst)
    }

    /// Pushes a kilobyte again and again until the outbox is full; returns how many pushes were taken.
    #[route]
    async fn flood(&self, connection: &Connection) -> u32 {
        let connection = connection.clone();
        let mut taken = 0;
        while connection.send(&Kilobyte("x".repeat(1000))).is_ok() {
            taken += 1;
            tokio::task::yield_now().await;
        }
        self.chats.store(taken, Ordering::SeqCst);
        taken
    }

    #[route]
    async fn peer(&self, connection: &Connection) -> Option<SocketAddr> {
        connection.peer()
    }
}

#[derive(serde::Serialize)]
struct Kilobyte(String);

impl Push for Kilobyte {
    const NAME: &'static str = "kilobyte";
}

async fn serve(router: Router) -> (SocketAddr, ServedRouter) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    (listener.local_addr().expect("an address"), serve_router(listener, router))
}

fn router(service: &Service<impl kengine::Dispatcher<Session = ()>>) -> Router {
    Router::new().route_service("/ws", service.clone()).route("/", get(async || "a page of axum's"))
}

#[tokio::test]
async fn a_router_serves_the_dispatcher_and_its_own_routes() {
    let service = Server::new(Guests::default()).into_service().unwrap();
    let (address, serving) = serve(router(&service)).await;
    let mut client = Client::connect(address).await;
    let mut other = Client::connect(address).await;
    assert_eq!(client.answers_to(Lobby::request(1, "x")).await, [Lobby::answer(1, "x")]);
    assert_eq!(client.ask("p").await, "q");
    assert_eq!(other.ask(Lobby::request(2, "y")).await, Lobby::answer(2, "y"));
    assert_eq!(other.ask(r#"{"method":"chats"}"#).await, "3", "both clients are on one node");
    assert_eq!(other.answers_to(r#"{"method":"peer"}"#).await, [""; 0], "axum does not pass the peer address on");
    client.close(1000).await;
    assert_eq!(client.next().await, "close 1000");
    assert_eq!(client.next().await, "the end");

    let page = Upgrade::new(address).path("/").ask(address).await;
    assert_eq!((page.status, page.body.as_str()), (200, "a page of axum's"));
    assert_eq!(Upgrade::new(address).path("/healthz").ask(address).await.status, 404, "the router has no `/healthz`");
    serving.stop().await;
}

#[tokio::test]
async fn draining_a_service_closes_every_client_with_4000() {
    let service = Server::new(Guests::default()).into_service().unwrap();
    let (address, serving) = serve(router(&service)).await;
    let mut clients = [Client::connect(address).await, Client::connect(address).await];
    for client in &mut clients {
        assert_eq!(client.ask("p").await, "q");
    }
    let drain = tokio::spawn(async move { service.drain().await });
    for client in &mut clients {
        assert_eq!(client.next().await, "close 4000");
        assert_eq!(client.next().await, "the end");
    }
    within("the drain", drain).await.expect("a drain that ends well");
    let refused = Upgrade::new(address).ask(address).await;
    assert_eq!((refused.status, refused.error_code().as_str()), (503, "unavailable"));
    serving.stop().await;
}

/// A page in a browser is told by a close code. The service bounds how many such sockets wait for the close frame of
/// their client.
#[tokio::test]
async fn a_mounted_dispatcher_tells_pages_by_a_close_code() {
    let server = Server::new(Gatehouse::default()).max_pending_handshakes(1).close_timeout(Duration::MAX);
    let service = server.into_service().unwrap();
    let (address, serving) = serve(router(&service)).await;
    let request = Upgrade::new(address).path("/ws?status=401");
    let response = request.ask(address).await;
    assert_eq!((response.status, response.error_code().as_str()), (401, "closed"));

    let page = request.with("Origin", format!("http://{address}"));
    let mut first = page.open(address).await;
    assert_eq!(first.frame().await, "close 4504");
    let mut second = page.open(address).await;
    assert_eq!(second.frame().await, "end of TCP");
    first.answer_close(4504).await;
    let told = async || {
        let mut third = page.open(address).await;
        (third.frame().await == "close 4504").then_some(third)
    };
    until("room for a refused page", told).await.answer_close(4504).await;
    assert_eq!(service.hub().connections(), 0);
    serving.stop().await;
}

#[tokio::test]
async fn frames_right_after_the_handshake_are_not_lost() {
    let service = without_rates(Guests::default()).into_service().unwrap();
    let (address, serving) = serve(router(&service)).await;
    let mut http = HttpClient::connect(address).await;
    let chats = (0..1000).map(|id| ClientFrame::text(Lobby::request(id, "x")));
    http.send(&[Upgrade::new(address).bytes(), segment(chats)].concat()).await;
    assert_eq!(http.response(false).await.status, 101);
    let mut client = http.into_websocket();
    for id in 0..1000 {
        assert_eq!(client.frame().await, Lobby::answer(id, "x"));
    }
    drop(client);
    serving.stop().await;
}

#[tokio::test]
async fn a_mounted_dispatcher_speaks_the_same_protocol() {
    let service = Server::new(Guests::default()).hosts(["127.0.0.1"]).into_service().unwrap();
    let (address, serving) = serve(router(&service)).await;
    let rows: Vec<(_, (_, &[&str]))> = vec![
        ("a close", (ClientFrame::close(4321, ""), &["close 4321", "end of TCP"])),
        ("a protocol error", (ClientFrame::text("x").unmasked(), &["close 1002", "end of TCP"])),
        ("a large message", (ClientFrame::text("").announcing(1 << 30), &["close 1009", "end of TCP"])),
        ("invalid UTF-8", (ClientFrame::text(b"\xff"), &["close 1007", "end of TCP"])),
    ];
    every_row(rows, async |(frame, expected)| {
        let mut client = RawClient::connect(address).await;
        client.send_frames([frame]).await;
        assert_eq!(client.transcript().await, expected);
    })
    .await;
    let foreign = Upgrade::new(address).and("Origin", "https://evil.example").ask(address).await;
    assert_eq!((foreign.status, foreign.error_code().as_str()), (403, "forbidden"));
    let with_body = Upgrade::new(address).and("Content-Length", "5").ask(address).await;
    assert_eq!((with_body.status, with_body.error_code().as_str()), (400, "bad_request"));
    let rebound = Upgrade::new(address).with("Host", "evil.example").ask(address).await;
    assert_eq!((rebound.status, rebound.error_code().as_str()), (421, "misdirected_request"));
    serving.stop().await;
}

#[tokio::test]
async fn a_connection_of_our_own_server_knows_its_peer() {
    let server = kengine_tests::TestServer::start(Server::new(Guests::default())).await;
    let mut client = Client::connect(server.address()).await;
    let own = client.local_address();
    assert_eq!(client.ask(r#"{"method":"peer"}"#).await, format!("{:?}", own.to_string()));
    drop(client);
    server.stop().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_slow_reader_of_a_router_is_noticed() {
    let service =
        Server::new(Guests::default()).max_outbox_pushes(64).max_outbox_size(64 * 1024).into_service().unwrap();
    let (address, serving) = serve(router(&service)).await;
    let mut slow = RawClient::connect(address).await;
    slow.send_frames([ClientFrame::text(r#"{"method":"flood"}"#)]).await;
    let mut other = Client::connect(address).await;
    let taken = within("the end of the flood", async {
        loop {
            let taken: u32 = other.ask(r#"{"method":"chats"}"#).await.parse().expect("a number");
            if taken > 0 {
                break taken;
            }
        }
    })
    .await;
    // Each push is a kilobyte. Without a limit on the kernel's buffer, the kernel would take megabytes more.
    assert!(taken < 1500, "{taken} KB were taken of which nothing was read");
    drop((slow, other));
    service.drain().await;
    serving.stop().await;
}

/// The handshake is accepted when the drain begins, but there is no connection yet.
#[tokio::test]
async fn a_drain_waits_for_a_handshake_that_is_being_answered() {
    let service = Server::new(Guests::default()).into_service().unwrap();
    let gate = Gate::default();
    let held = gate.clone();
    let late = from_fn(move |request: Request, next: Next| {
        let gate = held.clone();
        async move {
            let response = next.run(request).await;
            gate.pass().await;
            response
        }
    });
    let (address, serving) = serve(router(&service).layer(late)).await;
    let mut http = HttpClient::connect(address).await;
    http.send(&Upgrade::new(address).bytes()).await;
    gate.arrived(1).await;
    let mut drain = Box::pin(service.drain());
    // The first poll begins the drain, which must wait for the accepted handshake.
    assert!((&mut drain).now_or_never().is_none(), "the drain did not wait");
    gate.open(1);
    assert_eq!(http.response(false).await.status, 101);
    let mut client = http.into_websocket();
    assert_eq!(client.frame().await, "close 4000");
    client.answer_close(4000).await;
    within("the drain", drain).await;
    serving.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_a_router_drops_does_not_hold_the_drain() {
    let rows = [
        ("the handshake timeout", (Duration::from_secs(10), Duration::MAX)),
        ("the drain timeout", (Duration::MAX, Duration::from_secs(10))),
    ];
    every_row(rows, async |(handshake_timeout, drain_timeout)| {
        let server = Server::new(Guests::default()).handshake_timeout(handshake_timeout).drain_timeout(drain_timeout);
        let service = server.into_service().unwrap();
        let gate = Gate::default();
        let held = gate.clone();
        let never = from_fn(move |request: Request, next: Next| {
            let gate = held.clone();
            async move {
                // Keeps the response and never sends it.
                let _accepted = next.run(request).await;
                gate.pass().await;
                "no game today"
            }
        });
        let (address, serving) = serve(router(&service).layer(never)).await;
        let mut http = HttpClient::connect(address).await;
        http.send(&Upgrade::new(address).bytes()).await;
        gate.arrived(1).await;
        within("the drain", service.drain()).await;
        serving.stop().await;
    })
    .await;
}
