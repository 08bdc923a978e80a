//! The policies of a route: its rate, its maximum size and its timeout.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use kengine::{
    Call, Error, Server,
    testing::{self, Client as MemoryClient},
    wire::Route,
};
use kengine_tests::{Chat, Client, ClientFrame, RawClient, TestServer, WANTED_PANIC, every_row, summary};
use serde_json::{Value, json};
use tokio::time::advance;

struct Arena;

#[kengine::dispatcher(prefix = "arena.")]
impl Arena {
    /// A call that is refused is not allowed again while a test runs.
    #[route("rare", rate = "1/h", burst = 3)]
    async fn rare(&self, number: u32) -> u32 {
        number
    }

    #[route(rate = "2/h")]
    async fn seldom(&self) {}

    #[route(max_size = "100B")]
    async fn small(&self, text: String) -> usize {
        text.len()
    }

    #[route(timeout = "50ms")]
    async fn brief(&self) {
        pending::<()>().await;
    }

    #[route(timeout = "10min")]
    async fn patient(&self) -> &'static str {
        tokio::time::sleep(Duration::from_millis(400)).await;
        "done"
    }

    #[route]
    async fn usual(&self) {
        pending::<()>().await;
    }

    #[route]
    async fn broken(&self) {
        panic!("{WANTED_PANIC}");
    }

    #[route]
    async fn cursed(&self, number: u32) -> u32 {
        number
    }

    #[route(timeout = "50ms")]
    async fn stuck(&self, number: u32) -> u32 {
        number
    }

    #[route("all", rate = "1/h", max_size = "60B", timeout = "1s")]
    async fn all(&self, number: u32) -> u32 {
        number
    }

    #[before]
    async fn guard(&self, call: &Call) -> Result<(), Error> {
        match call.route {
            "arena.all" => Err(Error::new("guarded", "not today")),
            "arena.cursed" => panic!("{WANTED_PANIC}"),
            "arena.stuck" => pending().await,
            _ => Ok(()),
        }
    }

    #[route("chat")]
    async fn chat(&self, chat: Chat) -> String {
        chat.answer()
    }
}

fn request(route: &str, message: &str) -> String {
    format!(r#"{{"method":"arena.{route}","message":{message},"id":1}}"#)
}

#[tokio::test]
async fn a_rate_holds_per_connection_and_route() {
    let server = TestServer::start(Server::new(Arena)).await;
    let mut client = Client::connect(server.address()).await;
    for _ in 0..3 {
        assert_eq!(client.ask(request("rare", "1")).await, "1: 1");
    }
    for _ in 0..3 {
        assert_eq!(client.ask(request("rare", "1")).await, "1: error rate_limited");
    }
    // A refused message is not decoded. A message that is not JSON is answered so, without an id.
    assert_eq!(client.ask(request("rare", r#""no number""#)).await, "1: error rate_limited");
    for malformed in ["{", "tru", r#"{"a":}"#] {
        assert_eq!(client.ask(request("rare", malformed)).await, "error bad_request", "{malformed}");
    }
    // Another route has its own rate. Without `burst`, the burst is the count of the rate.
    for expected in ["1: null", "1: null", "1: error rate_limited"] {
        assert_eq!(client.ask(request("seldom", "null")).await, expected);
    }
    // Another connection has its own rates, too.
    let mut other = Client::connect(server.address()).await;
    assert_eq!(other.ask(request("rare", "1")).await, "1: 1");
    drop((client, other));
    server.stop().await;
}

/// Returns the code and the `method` of the next error.
async fn next_error(client: &mut MemoryClient) -> (String, Option<String>) {
    let text = client.next_text().await.expect("an error");
    let error: Value = serde_json::from_str(&text).expect("JSON");
    let member = |name| error["error"][name].as_str().map(str::to_owned);
    (member("code").unwrap_or(text), member("method"))
}

#[tokio::test(start_paused = true)]
async fn an_error_to_a_request_without_id_names_its_route() {
    let arena = testing::serve(Server::new(Arena).max_message_size(1000));
    let large = "x".repeat(100);
    // The first row uses the rate up.
    let rows = [
        ("all", json!("not today"), "guarded", true),
        ("all", json!(1), "rate_limited", true),
        ("small", json!(large), "too_large", true),
        ("small", json!(7), "invalid_message", true),
        ("brief", json!(null), "timeout", true),
        ("broken", json!(null), "internal", true),
        ("unknown", json!(null), "unknown_method", false),
    ];
    let mut client = arena.connect("/ws").await.unwrap();
    for (name, message, code, names) in rows {
        let route = format!("arena.{name}");
        client.notify(&route, &message).await;
        let expected = (code.to_owned(), names.then(|| route.clone()));
        assert_eq!(next_error(&mut client).await, expected, "{route}");
        // With an id, the client knows the route.
        client.send_text(&json!({ "id": 1, "method": route, "message": message }).to_string()).await;
        let (_, method) = next_error(&mut client).await;
        assert_eq!(method, None, "{route}");
    }
    // A message that is no request has no route, although its key was read.
    for malformed in [r#"{"method":"arena.small","message":"#, r#"{"method":"arena.small","message":1,"method":"x"}"#] {
        client.send_text(malformed).await;
        assert_eq!(next_error(&mut client).await, ("bad_request".to_owned(), None), "{malformed}");
    }
}

/// The id follows the payload, which is not decoded before `#[before]` has run.
#[tokio::test(start_paused = true)]
async fn an_error_has_the_id_of_a_request_whose_guard_panics_or_takes_too_long() {
    let arena = testing::serve(Arena);
    let mut client = arena.connect("/ws").await.unwrap();
    for (route, code) in [("cursed", "internal"), ("stuck", "timeout")] {
        client.send_text(&request(route, "7")).await;
        let answer = client.next_text().await.expect("an answer");
        assert_eq!(summary(&answer), format!("1: error {code}"), "{route}: {answer}");
    }
    // Without an id, or if the message is no request, the error has none.
    client.send_text(r#"{"method":"arena.cursed","message":7}"#).await;
    assert_eq!(next_error(&mut client).await, ("internal".to_owned(), Some("arena.cursed".to_owned())));
    client.send_text(r#"{"method":"arena.cursed","message":{x},"id":1}"#).await;
    assert_eq!(next_error(&mut client).await.0, "internal");
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_told_once_a_second_and_route_without_an_id() {
    let arena = testing::serve(Server::new(Arena).idle_timeout(Duration::MAX));
    let mut client = arena.connect("/ws").await.unwrap();
    for _ in 0..3 {
        assert_eq!(client.request::<u32>("arena.rare", &1).await, Ok(1));
        let _ = client.request::<()>("arena.seldom", &()).await;
    }
    for _ in 0..2 {
        for _ in 0..20 {
            client.notify("arena.rare", &1).await;
            client.notify("arena.seldom", &()).await;
        }
        // A request with an id is always answered. This answer comes after all others.
        assert_eq!(client.request::<u32>("arena.rare", &1).await.unwrap_err().code, "rate_limited");
        client.heartbeat().await;
        for route in ["arena.rare", "arena.seldom"] {
            assert_eq!(next_error(&mut client).await, ("rate_limited".to_owned(), Some(route.to_owned())));
        }
        assert_eq!(client.next_text().await.as_deref(), Some("q"));
        advance(Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn max_size_counts_the_whole_message() {
    let server = TestServer::start(Server::new(Arena)).await;
    let mut client = Client::connect(server.address()).await;
    let of = |size: usize| {
        let text = "x".repeat(size - request("small", r#""""#).len());
        (request("small", &format!("{text:?}")), text.len())
    };
    for (size, fits) in [(99, true), (100, true), (101, false), (10_000, false)] {
        let (message, length) = of(size);
        assert_eq!(message.len(), size);
        let expected = if fits { format!("1: {length}") } else { "1: error too_large".to_owned() };
        assert_eq!(client.ask(message).await, expected);
    }
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_timeout_of_a_route_holds_for_its_calls_alone() {
    let server = TestServer::start(Server::new(Arena).handler_timeout(Duration::from_millis(200))).await;
    let rows = [
        ("shorter than the server's", ("brief", "1: error timeout")),
        ("longer than the server's", ("patient", "1: \"done\"")),
        ("no timeout of the route, after others", ("usual", "1: error timeout")),
    ];
    let mut client = RawClient::connect(server.address()).await;
    let frames = rows.map(|(_, (route, _))| ClientFrame::text(request(route, "null")));
    client.send_frames(frames).await;
    for (row, (_, expected)) in rows {
        assert_eq!(client.frame().await, expected, "{row}");
    }
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn rate_size_guard_and_message_are_checked_in_this_order() {
    let server = TestServer::start(Server::new(Arena)).await;
    let large = request("all", &"1".repeat(60));
    let rows = [
        ("too large, within the rate", (vec![large.clone()], "1: error too_large")),
        ("too large, beyond the rate", (vec![large.clone(), large], "1: error rate_limited")),
        ("guarded, with an invalid message", (vec![request("all", "[]")], "1: error guarded")),
    ];
    every_row(rows, async |(messages, expected)| {
        let mut client = Client::connect(server.address()).await;
        let mut answer = String::new();
        for message in messages {
            answer = client.ask(message).await;
        }
        assert_eq!(answer, expected);
    })
    .await;
    server.stop().await;
}

#[tokio::test]
async fn the_prefix_precedes_each_route_name() {
    let server = TestServer::start(Server::new(Arena)).await;
    let mut client = Client::connect(server.address()).await;
    let chat = |name| format!(r#"{{"method":"{name}","message":{{"greeting":"x"}},"id":1}}"#);
    assert_eq!(client.ask(chat("arena.chat")).await, "1: \"hey, you said: x\"");
    assert_eq!(client.ask(chat("chat")).await, "1: error unknown_method");
    drop(client);
    server.stop().await;
}

/// A dispatcher whose own constants and methods have the names of the trait's.
struct Namesake;

#[expect(dead_code, reason = "the test is that nothing uses them")]
impl Namesake {
    const ROUTES: &'static [Route] = &[Route::new("chat.say"), Route::new("chat.list")];
    const HOOKS: () = ();
    const SYNTAX: &'static str = "other";

    fn before() {}
}

#[kengine::dispatcher]
impl Namesake {
    #[before]
    async fn guard(&self, call: &Call) -> Result<(), Error> {
        if call.route.starts_with("admin.") { Err(Error::new("unauthorized", "no")) } else { Ok(()) }
    }

    #[route("admin.wipe", max_size = "80B")]
    async fn wipe(&self, text: String) -> usize {
        text.len()
    }

    #[route("a")]
    async fn first(&self) {}

    #[route("b", max_size = "80B")]
    async fn second(&self) {}
}

#[tokio::test]
async fn constants_of_a_dispatcher_do_not_replace_its_guard_and_limits() {
    let server = TestServer::start(Server::new(Namesake)).await;
    let mut client = Client::connect(server.address()).await;
    let request = |route: &str, text: &str| format!(r#"{{"method":"{route}","message":"{text}","id":1}}"#);
    assert_eq!(client.ask(request("admin.wipe", &"x".repeat(300))).await, "1: error too_large");
    assert_eq!(client.ask(request("admin.wipe", "x")).await, "1: error unauthorized");
    for route in ["a", "b"] {
        assert_eq!(client.ask(request(route, "")).await, "1: null", "{route}");
    }
    drop(client);
    server.stop().await;
}

/// A dispatcher whose handler takes longer than the rate of its route.
#[derive(Clone, Default)]
struct Slow(Arc<AtomicUsize>);

#[kengine::dispatcher]
impl Slow {
    #[route(rate = "1/s", burst = 1)]
    async fn slow(&self) {
        tokio::time::sleep(Duration::from_secs(3)).await;
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn messages_that_wait_for_a_slow_handler_are_not_refused() {
    const MESSAGES: usize = 5;
    let slow = Slow::default();
    let served = testing::serve(Server::new(slow.clone()));
    let mut client = served.connect("/ws").await.expect("a connection");
    for _ in 0..MESSAGES {
        client.notify("slow", &()).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(slow.0.load(Ordering::SeqCst), MESSAGES);
}
