//! What a client may send in a second: what is refused beyond that, and when the client is closed with 4502.
//!
//! Most tests use tokio's paused clock, so the rates are exact.

use std::{sync::Mutex, time::Duration};

use kengine::{
    CloseCode, Connection, Context, DisconnectReason, Dispatcher, Error, Push, Server,
    testing::{self, Client, Served},
    wire::{Answer, Message},
};
use kengine_tests::{
    ClientFrame, End, Lobby, RawClient, TestServer, WANTED_PANIC, Workshop, refusals, segment, summary, without_rates,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::advance;

/// The limit on messages.
const MESSAGES: &str = "max_messages_per_second";
const SECOND: Duration = Duration::from_secs(1);

/// Serves with a limit on messages.
fn serve(rate: u32, burst: u32) -> Served<Workshop> {
    let server = Server::new(Workshop::default()).idle_timeout(Duration::MAX);
    testing::serve(server.max_messages_per_second(rate, burst))
}

/// Sends a request; returns `Ok` if it was handled, and otherwise the code of the error.
async fn chat(client: &mut Client) -> Result<(), String> {
    let answer = client.request::<String>("chat", &json!({ "greeting": "x" })).await;
    answer.map(|_| ()).map_err(|error| error.code)
}

/// Sends heartbeats until one is refused; returns how many were answered.
async fn answered_heartbeats(client: &mut Client) -> usize {
    for answered in 0.. {
        client.heartbeat().await;
        let answer = client.next_text().await.expect("an answer");
        if answer != "q" {
            assert!(answer.starts_with(r#"{"error":{"code":"rate_limited","#), "{answer}");
            return answered;
        }
    }
    unreachable!("a heartbeat is refused at some time")
}

#[tokio::test(start_paused = true)]
async fn a_message_beyond_the_rate_is_answered_and_not_handled() {
    let game = serve(10, 5);
    let mut client = game.connect("/ws").await.unwrap();
    let limited = || Err("rate_limited".to_owned());
    for _ in 0..5 {
        assert_eq!(chat(&mut client).await, Ok(()));
    }
    assert_eq!(chat(&mut client).await, limited());
    advance(SECOND / 10).await;
    assert_eq!(chat(&mut client).await, Ok(()));
    assert_eq!(chat(&mut client).await, limited());
    assert_eq!(game.dispatcher().handled(), 6);
    // After a pause of any length, only the burst passes.
    advance(SECOND * 3600).await;
    for _ in 0..5 {
        assert_eq!(chat(&mut client).await, Ok(()));
    }
    assert_eq!(chat(&mut client).await, limited());
    // Another client has its own rate.
    assert_eq!(chat(&mut game.connect("/ws").await.unwrap()).await, Ok(()));
    assert_eq!(refusals(&game.hub(), MESSAGES), 3);
}

#[tokio::test(start_paused = true)]
async fn by_default_a_client_has_200_messages_at_once_and_100_a_second() {
    let game = testing::serve(Workshop::default());
    let mut client = game.connect("/ws").await.unwrap();
    assert_eq!(answered_heartbeats(&mut client).await, 200);
    advance(SECOND).await;
    assert_eq!(answered_heartbeats(&mut client).await, 100);
    assert_eq!(refusals(&game.hub(), MESSAGES), 2);
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_refused_messages_exceed_the_rate_too_is_closed_with_4502() {
    let game = testing::serve(Bouncer::default());
    let mut client = game.connect("/ws").await.unwrap();
    for handled in [true, false] {
        for number in 0..200 {
            let answer = client.request::<bool>("knock", &()).await.map_err(|error| error.code);
            let expected = if handled { Ok(true) } else { Err("rate_limited".to_owned()) };
            assert_eq!(answer, expected, "message {number}, handled: {handled}");
        }
    }
    client.heartbeat().await;
    let close = client.closed().await.expect("a close frame");
    assert_eq!((close.code(), close.reason()), (CloseCode::RATE_LIMIT, "rate limit"));
    game.emptied().await;
    assert_eq!(game.dispatcher().reasons(), [DisconnectReason::RateLimited]);
    assert_eq!(refusals(&game.hub(), MESSAGES), 200 + 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_refused_now_and_then_stays() {
    let game = serve(10, 5);
    let mut client = game.connect("/ws").await.unwrap();
    // 15 messages a second: 10 are handled, and 5 refused.
    for _ in 0..500 {
        for _ in 0..3 {
            let _ = chat(&mut client).await;
        }
        advance(SECOND / 5).await;
    }
    assert_eq!(chat(&mut client).await, Ok(()));
    let refused = refusals(&game.hub(), MESSAGES);
    assert!((490..=500).contains(&refused), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_repeats_the_id_of_the_request() {
    let game = serve(1, 1);
    let rows = [
        (r#"{"method":"chat","message":{"greeting":"x"},"id":7}"#, r#"{"id":7,"error":{"code":"rate_limited","#),
        (r#"{"id":"a","method":"unknown"}"#, r#"{"id":"a","error":{"code":"rate_limited","#),
        (r#"{"method":"chat","message":{"greeting":"x"}}"#, r#"{"error":{"code":"rate_limited","#),
        (r#"{"id":7}"#, r#"{"id":7,"error":{"code":"rate_limited","#),
        (r#"{"method":"chat","message":{"greeting":x},"id":7}"#, r#"{"error":{"code":"rate_limited","#),
        ("not JSON", r#"{"error":{"code":"rate_limited","#),
        ("p", r#"{"error":{"code":"rate_limited","#),
        ("", r#"{"error":{"code":"rate_limited","#),
    ];
    for (message, expected) in rows {
        let mut client = game.connect("/ws").await.unwrap();
        client.heartbeat().await;
        assert_eq!(client.next_text().await.as_deref(), Some("q"));
        client.send_text(message).await;
        let answer = client.next_text().await.expect("an answer");
        assert!(answer.starts_with(expected), "{message:?}: {answer}");
    }
    assert_eq!(game.dispatcher().handled(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_messages_without_id_is_told_once_a_second() {
    let game = serve(10, 5);
    let mut client = game.connect("/ws").await.unwrap();
    let told = r#"{"error":{"code":"rate_limited","message":"you send more than this server allows; slow down"}}"#;
    for (burst, refused) in [(5, 4), (5, 3), (1, 2)] {
        for _ in 0..burst {
            assert_eq!(chat(&mut client).await, Ok(()));
        }
        for message in ["p", "not JSON", r#"{"method":"chat","message":{"greeting":"x"}}"#, ""].iter().take(refused) {
            client.send_text(message).await;
        }
        // A request with an id is always answered. This answer comes after all others.
        assert_eq!(chat(&mut client).await, Err("rate_limited".to_owned()));
        advance(SECOND / 10).await;
        client.heartbeat().await;
        // The third round begins before a second has passed.
        let is_told = burst == 5;
        if is_told {
            assert_eq!(client.next_text().await.as_deref(), Some(told));
        }
        assert_eq!(client.next_text().await.as_deref(), Some("q"));
        if refused == 4 {
            advance(SECOND).await;
        } else {
            advance(SECOND / 10).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn messages_that_wait_for_a_handler_are_refused_in_their_turn() {
    let game = serve(1, 3);
    let mut client = game.connect("/ws").await.unwrap();
    client.send_text(r#"{"method":"wait","id":1}"#).await;
    game.dispatcher().gate.arrived(1).await;
    for id in 2..=5 {
        client.send_text(&Lobby::request(id, "x")).await;
    }
    client.ping().await;
    game.dispatcher().gate.open(1);
    let mut answers = Vec::new();
    for _ in 1..=5 {
        answers.push(summary(&client.next_text().await.expect("an answer")));
    }
    let handled = |id| Lobby::answer(id, "x");
    let refused = |id| format!("{id}: error rate_limited");
    assert_eq!(answers, ["1: \"done\"".to_owned(), handled(2), handled(3), refused(4), refused(5)]);
    assert_eq!(game.dispatcher().handled(), 2);
}

/// While a handler runs, only a part of what comes is read. The rest is read at once later, but the client did not send
/// it at once.
#[tokio::test(start_paused = true)]
async fn a_client_that_keeps_the_rate_is_not_refused_after_a_long_handler() {
    const PER_SECOND: usize = 100;
    let game = testing::serve(Server::new(Workshop::default()).max_messages_per_second(100, 110));
    let mut client = game.connect("/ws").await.unwrap();
    client.send_text(r#"{"method":"wait","id":0}"#).await;
    game.dispatcher().gate.arrived(1).await;
    let greeting = "x".repeat(50);
    for second in 0..3 {
        advance(SECOND).await;
        for number in 0..PER_SECOND {
            client.send_text(&Lobby::request(second * PER_SECOND + number + 1, &greeting)).await;
        }
    }
    game.dispatcher().gate.open(1);
    for id in 0..=3 * PER_SECOND {
        let answer = client.next_text().await.expect("an answer");
        assert!(!answer.contains("rate_limited"), "request {id}: {answer}");
    }
    assert_eq!(game.dispatcher().handled(), 3 * PER_SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_message_is_refused_when_too_many_bytes_have_come() {
    let server = Server::new(Workshop::default()).max_message_size(2000).max_bytes_per_second(1000, 1);
    let game = testing::serve(server);
    let mut client = game.connect("/ws").await.unwrap();
    let greeting = "x".repeat(1000);
    let chat = || json!({ "greeting": greeting });
    let ok = || Ok(format!("hey, you said: {greeting}"));
    let limited = || Err("rate_limited".to_owned());
    // The burst is as large as the largest message. The message that exceeds it still passes.
    for expected in [ok(), ok(), limited(), limited()] {
        let answer = client.request::<String>("chat", &chat()).await;
        assert_eq!(answer.map_err(|error| error.code), expected);
    }
    advance(SECOND).await;
    // Refused bytes are limited too.
    for expected in [ok(), limited(), Err("closed".to_owned())] {
        let answer = client.request::<String>("chat", &chat()).await;
        assert_eq!(answer.map_err(|error| error.code), expected);
    }
    assert_eq!(client.closed().await.map(|close| close.code()), Some(CloseCode::RATE_LIMIT));
    assert_eq!(refusals(&game.hub(), "max_bytes_per_second"), 3 + 1);
}

/// A message that never ends has no answer, but its bytes count.
#[tokio::test]
async fn an_endless_message_is_closed_with_4502() {
    // The size limit of the message counts only its content, and these fragments have little.
    let fragment = segment(std::iter::repeat_n(ClientFrame::continuation("").unfinished(), 100));
    let mut message = fragment.clone();
    while message.len() < 4 << 20 {
        message.extend_from_slice(&fragment);
    }
    let server = Server::new(Lobby).max_fragments_per_message(u32::MAX).max_message_size(1 << 20);
    let server = TestServer::start_with_rates(server.max_bytes_per_second(1, 1)).await;
    let mut client = RawClient::connect(server.address()).await;
    client.send_frames([ClientFrame::text("x").unfinished()]).await;
    client.try_send(&message).await;
    let last = client.transcript().await;
    assert!(last.contains(&"close 4502".to_owned()) || last == ["reset of TCP"], "{last:?}");
    drop(client);
    assert_eq!(refusals(server.hub(), "max_bytes_per_second"), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_message_of_too_many_fragments_is_closed_with_1009() {
    let message = |fragments: usize| {
        let empty = || std::iter::repeat_n(ClientFrame::continuation("").unfinished(), fragments - 2);
        let first = ClientFrame::text(Lobby::request(1, "x")).unfinished();
        segment([first].into_iter().chain(empty()).chain([ClientFrame::continuation("")]))
    };
    for (server, most) in [
        (Server::new(Lobby), 1024),
        (Server::new(Lobby).max_message_size(100), 1024),
        // The largest message may come in fragments of 64 bytes.
        (Server::new(Lobby).max_message_size(128 * 1024), 2048),
        (Server::new(Lobby).max_message_size(128 * 1024).max_fragments_per_message(3), 3),
    ] {
        let server = TestServer::start(server).await;
        let mut client = RawClient::connect(server.address()).await;
        for _ in 0..3 {
            client.send(message(most)).await;
            assert_eq!(client.frame().await, Lobby::answer(1, "x"));
        }
        client.send(message(most + 1)).await;
        let frame = client.next().await.expect("a close frame");
        assert_eq!(frame.close(), Some((1009, "message has too many fragments")));
        assert_eq!(client.transcript().await, [End::Closed.to_string()]);
        assert_eq!(refusals(server.hub(), "max_fragments_per_message"), 1);
        drop(client);
        server.stop().await;
    }
}

#[tokio::test]
async fn too_many_pings_are_closed_with_4502() {
    for (name, frame) in [("pings", ClientFrame::ping("x")), ("pongs", ClientFrame::pong("x"))] {
        let server = TestServer::start_with_rates(Server::new(Lobby)).await;
        let mut client = RawClient::connect(server.address()).await;
        client.send_frames(std::iter::repeat_n(frame, 1000)).await;
        let mut transcript = client.transcript().await;
        assert_eq!(transcript.pop().as_deref(), Some("end of TCP"));
        assert_eq!(transcript.pop().as_deref(), Some("close 4502"), "{name}");
        assert!(transcript.iter().all(|frame| frame == "pong \"x\""), "{transcript:?}");
        assert_eq!(refusals(server.hub(), "max_pings_per_second"), 1);
        drop(client);
        server.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_has_20_pings_at_once_and_10_a_second() {
    let game = testing::serve(Workshop::default());
    let mut client = game.connect("/ws").await.unwrap();
    for count in [20, 10, 10] {
        for _ in 0..count {
            client.ping().await;
        }
        advance(SECOND).await;
    }
    advance(SECOND * 2).await;
    for _ in 0..20 {
        client.ping().await;
    }
    assert_eq!(refusals(&game.hub(), "max_pings_per_second"), 0);
}

#[tokio::test]
async fn the_pings_of_one_segment_come_at_the_same_time() {
    let server = TestServer::start_with_rates(Server::new(Lobby).max_pings_per_second(1, 20)).await;
    let mut client = RawClient::connect(server.address()).await;
    client.send_frames(std::iter::repeat_n(ClientFrame::ping("x"), 21)).await;
    assert_eq!(client.frames(20).await, ["pong \"x\""; 20]);
    assert_eq!(client.frame().await, "close 4502");
    drop(client);
    server.stop().await;
}

/// Refused bytes and refused messages have limits of their own.
#[tokio::test(start_paused = true)]
async fn messages_within_refused_bytes_are_limited_too() {
    let server = Server::new(Workshop::default()).max_message_size(1000).max_bytes_per_second(1000, 1_000_000);
    let game = testing::serve(server.max_messages_per_second(10, 5));
    let mut client = game.connect("/ws").await.unwrap();
    for _ in 0..5 {
        client.send_text(&"x".repeat(900)).await;
        client.next_text().await.expect("an answer");
    }
    // 5 refused messages have an answer, whatever their size.
    for _ in 0..5 {
        client.send_text(r#"{"id":1}"#).await;
        assert!(client.next_text().await.expect("an answer").contains("rate_limited"));
    }
    client.heartbeat().await;
    assert_eq!(client.closed().await.map(|close| close.code()), Some(CloseCode::RATE_LIMIT));

    let server = Server::new(Workshop::default()).max_message_size(1000).max_bytes_per_second(1000, 1000);
    let game = testing::serve(server.max_messages_per_second(10, 5).idle_timeout(Duration::MAX));
    let mut client = game.connect("/ws").await.unwrap();
    for _ in 0..2 {
        client.send_text(&"x".repeat(990)).await;
        client.next_text().await.expect("an answer");
    }
    for _ in 0..5 {
        client.send_text(r#"{"id":1}"#).await;
        assert!(client.next_text().await.expect("an answer").contains("rate_limited"));
    }
    client.heartbeat().await;
    assert_eq!(client.closed().await.map(|close| close.code()), Some(CloseCode::RATE_LIMIT));
}

/// If the program's own refusal panics, only this message fails.
#[tokio::test(start_paused = true)]
async fn a_refusal_that_panics_is_answered() {
    struct Clumsy;

    impl Dispatcher for Clumsy {
        type Session = ();

        async fn message(&self, _: Context<'_, ()>, message: Message<'_>, answer: &mut Answer) {
            answer.binary(message.as_bytes());
        }

        fn refuse(&self, _: Context<'_, ()>, _: Message<'_>, _: &Error, _: &mut Answer) {
            panic!("{WANTED_PANIC}");
        }
    }

    let game = testing::serve(Server::new(Clumsy).max_messages_per_second(1, 2));
    let mut client = game.connect("/ws").await.unwrap();
    for _ in 0..2 {
        client.send_binary(b"hi").await;
        assert_eq!(client.next_binary().await.as_deref(), Some(&b"hi"[..]));
    }
    for _ in 0..2 {
        client.send_binary(b"hi").await;
        assert!(client.next_text().await.expect("an answer").contains("internal"));
    }
    assert_eq!(game.hub().connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn pongs_for_the_pings_of_the_server_are_free() {
    let game = testing::serve(Server::new(Workshop::default()).idle_timeout(Duration::from_millis(30)));
    let mut client = game.connect("/ws").await.unwrap();
    client.stay(SECOND * 10).await;
    assert_eq!(chat(&mut client).await, Ok(()));
}

/// By default, a client that sends as fast as it can and reads everything is closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flooder_is_closed() {
    let server = TestServer::start_with_rates(Server::new(Lobby)).await;
    let mut flooder = RawClient::connect(server.address()).await;
    let heartbeats = segment(std::iter::repeat_n(ClientFrame::text("p"), 1000));
    // At the default rate, these would take 15 minutes.
    for _ in 0..100 {
        flooder.try_send(&heartbeats).await;
    }
    let transcript = flooder.transcript().await;
    let closed = transcript.iter().any(|frame| frame == "close 4502");
    assert!(closed || transcript.last().is_some_and(|end| end == "reset of TCP"), "{:?}", transcript.last());
    assert!(refusals(server.hub(), MESSAGES) > 100);
    // Another client is served.
    RawClient::connect(server.address()).await.heartbeat().await;
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn limits_that_are_switched_off_refuse_nothing() {
    let game = testing::serve(without_rates(Workshop::default()));
    let mut client = game.connect("/ws").await.unwrap();
    for _ in 0..2000 {
        assert_eq!(chat(&mut client).await, Ok(()));
        client.ping().await;
    }
    assert!(game.hub().refusals().all(|(_, total)| total == 0));
}

/// Answers to questions count, but they are not refused: they have no answer in which a refusal could be.
#[tokio::test(start_paused = true)]
async fn an_answer_to_a_question_counts_and_is_not_refused() {
    let game = testing::serve(Server::new(Bouncer::default()).max_messages_per_second(1, 3));
    let mut client = game.connect("/ws").await.unwrap();
    client.notify("ask", &()).await;
    let (_, id) = client.question::<Password>().await;
    client.answer(id, &"sesame").await;
    assert_eq!(client.next_text().await.as_deref(), Some(r#""sesame""#));

    client.notify("ask", &()).await;
    let (_, id) = client.question::<Password>().await;
    client.answer(id, &"sesame").await;
    assert_eq!(client.next_text().await.as_deref(), Some(r#""sesame""#));
    // Late answers are dropped, and too many of them are too many messages.
    for _ in 0..3 {
        client.answer(id, &"again").await;
    }
    assert_eq!(client.closed().await.map(|close| close.code()), Some(CloseCode::RATE_LIMIT));
    assert_eq!(client.next_text().await, None);
}

/// A dispatcher for messages that are not JSON refuses in its own format.
#[tokio::test(start_paused = true)]
async fn a_dispatcher_may_refuse_in_its_own_format() {
    struct OwnFormat;

    impl Dispatcher for OwnFormat {
        type Session = ();

        async fn message(&self, _: Context<'_, ()>, message: Message<'_>, answer: &mut Answer) {
            answer.binary(message.as_bytes());
        }

        fn refuse(&self, _: Context<'_, ()>, message: Message<'_>, error: &Error, answer: &mut Answer) {
            answer.binary(&[message.as_bytes(), b" ", error.code().as_bytes()].concat());
        }
    }

    let game = testing::serve(Server::new(OwnFormat).max_messages_per_second(1, 1));
    let mut client = game.connect("/ws").await.unwrap();
    for expected in ["hi", "hi rate_limited"] {
        client.send_binary(b"hi").await;
        assert_eq!(client.next_binary().await.as_deref(), Some(expected.as_bytes()));
    }
}

#[derive(Serialize, Deserialize, Push)]
struct Password {}

/// Remembers why connections have ended.
#[derive(Default)]
struct Bouncer {
    reasons: Mutex<Vec<DisconnectReason>>,
}

impl Bouncer {
    fn reasons(&self) -> Vec<DisconnectReason> {
        self.reasons.lock().unwrap().clone()
    }
}

#[kengine::dispatcher]
impl Bouncer {
    #[route]
    async fn knock(&self) -> bool {
        true
    }

    #[route]
    async fn ask(&self, connection: &Connection) -> Result<String, Error> {
        Ok(connection.ask::<String>(&Password {}).await?)
    }

    #[close]
    async fn gone(&self, reason: &DisconnectReason) {
        self.reasons.lock().unwrap().push(reason.clone());
    }
}
