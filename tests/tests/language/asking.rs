//! Questions that the server asks a client: what counts as an answer, and how each question ends.

use std::{sync::Mutex, time::Duration};

use futures_util::future::join_all;
use kengine::{
    Close, CloseCode, Connection, Error, Push, Server,
    push::{Ask, AskError},
    testing::{self, Client, Served},
};
use kengine_tests::{ClientFrame, RawClient, TestServer};
use serde::Serialize;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::Instant,
};

#[derive(Serialize, Push)]
struct Trade {
    offers: u32,
}

/// Returns the question with this id as it is on the wire.
fn question(id: u32) -> String {
    format!(r#"{{"id":{id},"method":"trade","message":{{"offers":7}}}}"#)
}

/// Returns the outcome of a question in short.
async fn outcome(question: Ask<'_, bool>) -> String {
    match question.await {
        Ok(answer) => answer.to_string(),
        Err(AskError::Refused { code, message }) => format!("refused: {code}, {message}"),
        Err(AskError::Invalid(_)) => "invalid".to_owned(),
        Err(AskError::TimedOut) => "timed out".to_owned(),
        Err(AskError::TooMany) => "too many".to_owned(),
        Err(AskError::Closed) => "closed".to_owned(),
        Err(AskError::Send(_)) => "not asked".to_owned(),
        Err(other) => panic!("{other}"),
    }
}

/// Asks questions and reports their outcomes to the test.
struct Game {
    outcomes: UnboundedSender<String>,
    guest: Mutex<Option<Connection>>,
    asks_at_once: bool,
}

impl Game {
    fn guest(&self) -> Connection {
        self.guest.lock().unwrap().clone().expect("a guest")
    }

    fn tell(&self, outcome: &str) {
        self.outcomes.send(outcome.to_owned()).expect("a test that listens");
    }
}

#[kengine::dispatcher]
impl Game {
    #[open]
    async fn greet(&self, connection: &Connection) {
        *self.guest.lock().unwrap() = Some(connection.clone());
        if self.asks_at_once {
            self.tell(&outcome(connection.ask(&Trade { offers: 7 })).await);
        }
    }

    #[route]
    async fn ask(&self, connection: &Connection) -> String {
        let outcome = outcome(connection.ask(&Trade { offers: 7 })).await;
        self.tell(&outcome);
        outcome
    }

    #[route]
    async fn ask_briefly(&self, connection: &Connection) -> String {
        outcome(connection.ask(&Trade { offers: 7 }).timeout(Duration::from_millis(5))).await
    }

    #[route]
    async fn ask_often(&self, connection: &Connection, times: usize) -> Vec<String> {
        join_all((0..times).map(|_| outcome(connection.ask(&Trade { offers: 7 })))).await
    }

    /// Passes the error of a failed question on to the client.
    #[route]
    async fn pass_on(&self, connection: &Connection) -> Result<bool, Error> {
        Ok(connection.ask::<bool>(&Trade { offers: 7 }).await?)
    }

    #[route]
    async fn echo(&self, text: String) -> String {
        text
    }

    #[close]
    async fn leave(&self, connection: &Connection) {
        self.tell(&outcome(connection.ask(&Trade { offers: 7 })).await);
    }
}

/// Serves a game; returns it with the outcomes that it reports.
fn serve(asks_at_once: bool) -> (Served<Game>, UnboundedReceiver<String>) {
    let (outcomes, told) = unbounded_channel();
    let game = Game { outcomes, guest: Mutex::default(), asks_at_once };
    (testing::serve(Server::new(game).max_outbox_pushes(64).max_outbox_size(32 * 1024)), told)
}

async fn join(game: &Served<Game>) -> Client {
    game.connect("/ws").await.expect("a connection")
}

async fn next(client: &mut Client) -> String {
    client.next_text().await.expect("a connection that lasts")
}

/// Sends a request whose handler asks, and awaits the question.
async fn asked(client: &mut Client, route: &str, id: u32) {
    client.send_text(&format!(r#"{{"method":"{route}","id":"{route}"}}"#)).await;
    assert_eq!(next(client).await, question(id));
}

/// Checks that nothing has come and that the connection is alive.
async fn silence(client: &mut Client) {
    client.heartbeat().await;
    assert_eq!(next(client).await, "q", "instead of silence");
}

#[tokio::test(start_paused = true)]
async fn an_answer_goes_to_the_caller() {
    let (game, _told) = serve(false);
    let mut client = join(&game).await;
    let answers = [
        (r#"{"id":1,"result":true}"#, "true"),
        (r#"{"result":false,"extra":1,"id":2}"#, "false"),
        (r#"{"id":3,"error":{"code":"busy","message":"not now"}}"#, "refused: busy, not now"),
        (r#"{"id":4,"result":"yes"}"#, "invalid"),
        (r#"{"id":5,"result":null}"#, "invalid"),
        (" { \"id\" : 6 , \"result\" : true } ", "true"),
    ];
    for (id, (answer, outcome)) in (1..).zip(answers) {
        asked(&mut client, "ask", id).await;
        if id % 2 == 0 {
            client.send_text(answer).await;
        } else {
            client.send_binary(answer.as_bytes()).await;
        }
        assert_eq!(next(&mut client).await, format!(r#"{{"id":"ask","result":"{outcome}"}}"#), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_can_pass_on_why_it_got_no_answer() {
    let (game, _told) = serve(false);
    let mut client = join(&game).await;
    let failed = |text: &str, code: &str| text.contains(&format!(r#""error":{{"code":"{code}""#));
    asked(&mut client, "pass_on", 1).await;
    client.send_text(r#"{"id":1,"result":1}"#).await;
    assert!(failed(&next(&mut client).await, "not_answered"));
    asked(&mut client, "pass_on", 2).await;
    assert!(failed(&next(&mut client).await, "timeout"));
    asked(&mut client, "pass_on", 3).await;
    client.send_text(r#"{"id":3,"error":{"code":"secret","message":"of the client's"}}"#).await;
    let refused = next(&mut client).await;
    assert!(failed(&refused, "not_answered") && !refused.contains("secret"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_question_times_out() {
    let (game, _told) = serve(false);
    let mut client = join(&game).await;
    for (id, route, limit) in [(1, "ask", Duration::from_secs(10)), (2, "ask_briefly", Duration::from_millis(5))] {
        asked(&mut client, route, id).await;
        let begun = Instant::now();
        assert_eq!(next(&mut client).await, format!(r#"{{"id":"{route}","result":"timed out"}}"#));
        // tokio's clock is paused: it advances only while every task waits.
        assert_eq!(begun.elapsed(), limit);
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_or_repeated_answer_is_ignored() {
    let (game, _told) = serve(false);
    let mut client = join(&game).await;
    asked(&mut client, "ask_briefly", 1).await;
    assert_eq!(next(&mut client).await, r#"{"id":"ask_briefly","result":"timed out"}"#);
    client.send_text(r#"{"id":1,"result":true}"#).await;
    silence(&mut client).await;

    asked(&mut client, "ask", 2).await;
    // An answer can come while another question waits, and while none does.
    client.send_text(r#"{"id":1,"result":false}"#).await;
    client.send_text(r#"{"id":2,"result":true}"#).await;
    client.send_text(r#"{"id":2,"result":false}"#).await;
    assert_eq!(next(&mut client).await, r#"{"id":"ask","result":"true"}"#);
    client.send_text(r#"{"id":2,"error":{"code":"no","message":"after all"}}"#).await;
    silence(&mut client).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_overtakes_the_requests_before_it() {
    let (game, _told) = serve(false);
    let mut client = join(&game).await;
    let echo = |number| format!(r#"{{"method":"echo","message":"{number}","id":{number}}}"#);
    // A client's request may have the same id as the question.
    client.send_text(r#"{"method":"ask","id":"ask"}"#).await;
    for number in 1..=100 {
        client.send_text(&echo(number)).await;
    }
    client.send_text(r#"{"id":1,"result":true}"#).await;
    assert_eq!(next(&mut client).await, question(1));
    assert_eq!(next(&mut client).await, r#"{"id":"ask","result":"true"}"#);
    for number in 1..=100 {
        assert_eq!(next(&mut client).await, format!(r#"{{"id":{number},"result":"{number}"}}"#));
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_answers_nothing_is_a_request() {
    let (game, mut told) = serve(false);
    let mut client = join(&game).await;
    let requests = [
        (r#"{"id":1,"method":"echo","message":"hi","result":true}"#, r#"{"id":1,"result":"hi"}"#),
        (r#"{"id":"1","result":true}"#, r#"{"id":"1","error":{"code":"bad_request""#),
        (r#"{"id":2,"result":true}"#, r#"{"id":2,"error":{"code":"bad_request""#),
        (r#"{"id":0,"result":true}"#, r#"{"id":0,"error":{"code":"bad_request""#),
        (r#"{"id":1.0,"result":true}"#, r#"{"id":1.0,"error":{"code":"bad_request""#),
        (r#"{"id":1}"#, r#"{"id":1,"error":{"code":"bad_request""#),
        (r#"{"result":true}"#, r#"{"error":{"code":"bad_request""#),
        (r#"{"id":1,"result":true"#, r#"{"error":{"code":"bad_request""#),
    ];
    // Before the first question there is nothing to answer.
    client.send_text(r#"{"id":1,"result":true}"#).await;
    assert!(next(&mut client).await.starts_with(r#"{"id":1,"error":{"code":"bad_request""#));

    let connection = game.dispatcher().guest();
    let asking = async { outcome(connection.ask(&Trade { offers: 7 })).await };
    let answering = async {
        assert_eq!(next(&mut client).await, question(1));
        for (request, answer) in requests {
            client.send_text(request).await;
            let answered = next(&mut client).await;
            assert!(answered.starts_with(answer), "{request}: {answered}");
        }
        client.send_text(r#"{"id":1,"result":true}"#).await;
        silence(&mut client).await;
    };
    assert_eq!(tokio::join!(asking, answering).0, "true");
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn a_client_may_be_asked_before_it_sends_anything() {
    let (outcomes, mut told) = unbounded_channel();
    let game = Game { outcomes, guest: Mutex::default(), asks_at_once: true };
    let server = TestServer::start(Server::new(game)).await;
    let mut client = RawClient::connect(server.address()).await;
    assert_eq!(client.frame().await, question(1));
    let request = r#"{"method":"echo","message":"hi","id":1}"#;
    client.send_frames([request, r#"{"id":1,"result":true}"#].map(ClientFrame::text)).await;
    assert_eq!(client.frame().await, r#"1: "hi""#);
    assert_eq!(told.recv().await.as_deref(), Some("true"));
    drop(client);
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn questions_of_several_tasks_are_told_apart() {
    let (game, _told) = serve(false);
    let mut client = join(&game).await;
    let connection = game.dispatcher().guest();
    let asking = |_| {
        let connection = connection.clone();
        tokio::spawn(async move { outcome(connection.ask(&Trade { offers: 7 })).await })
    };
    let asking: Vec<_> = (0..9).map(asking).collect();
    for id in 1..=9 {
        assert_eq!(next(&mut client).await, question(id));
    }
    // The last question is answered first; those with even ids are answered with true.
    for id in (1..=9).rev() {
        client.send_text(&format!(r#"{{"id":{id},"result":{}}}"#, id % 2 == 0)).await;
    }
    for (id, asked) in (1..).zip(asking) {
        assert_eq!(asked.await.unwrap(), (id % 2 == 0).to_string(), "question {id}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_has_at_most_32_questions_to_answer() {
    let (game, _told) = serve(false);
    let mut client = join(&game).await;
    client.send_text(r#"{"method":"ask_often","message":33,"id":0}"#).await;
    for id in 1..=32 {
        assert_eq!(next(&mut client).await, question(id));
    }
    for id in 1..=32 {
        client.send_text(&format!(r#"{{"id":{id},"result":true}}"#)).await;
    }
    let answers = [r#""true""#; 32].join(",");
    assert_eq!(next(&mut client).await, format!(r#"{{"id":0,"result":[{answers},"too many"]}}"#));
    // After all were answered, the client can be asked as many questions again; the same holds after all timed out.
    client.send_text(r#"{"method":"ask_often","message":32,"id":0}"#).await;
    for id in 33..=64 {
        assert_eq!(next(&mut client).await, question(id));
    }
    let answers = [r#""timed out""#; 32].join(",");
    assert_eq!(next(&mut client).await, format!(r#"{{"id":0,"result":[{answers}]}}"#));
    asked(&mut client, "ask", 65).await;
}

/// Ends a connection whose handler waits for an answer. The handler must get the error at once, and a question in
/// `#[close]` must fail at once.
async fn told_at_once(what: &str, happens: impl AsyncFnOnce(&Served<Game>, Client)) {
    let (game, mut told) = serve(false);
    let mut client = join(&game).await;
    asked(&mut client, "ask", 1).await;
    let begun = Instant::now();
    happens(&game, client).await;
    assert_eq!(told.recv().await.as_deref(), Some("closed"), "{what}");
    assert_eq!(told.recv().await.as_deref(), Some("not asked"), "{what}, in `#[close]`");
    assert_eq!(begun.elapsed(), Duration::ZERO, "{what}");
}

#[tokio::test(start_paused = true)]
async fn a_question_ends_when_its_answer_cannot_come() {
    told_at_once("the client is lost", async |_, client| drop(client)).await;
    told_at_once("the client is lost while it is written to", async |game, client| {
        drop(client);
        game.dispatcher().guest().send(&Trade { offers: 1 }).expect("room in the outbox");
    })
    .await;
    told_at_once("the client closes", async |_, mut client| client.close(CloseCode::NORMAL, "").await).await;
    told_at_once("the client is kicked", async |game, mut client| {
        game.dispatcher().guest().close(Close::new(CloseCode::KICKED, "kicked"));
        assert_eq!(client.closed().await.expect("a code").code(), CloseCode::KICKED);
    })
    .await;
    told_at_once("the client is too slow", async |game, mut client| {
        while game.dispatcher().guest().send(&Trade { offers: 1 }).is_ok() {}
        assert_eq!(client.closed().await.expect("a code").code(), CloseCode::TOO_SLOW);
    })
    .await;
    told_at_once("the node drains", async |game, mut client| {
        let closing = async { assert_eq!(client.closed().await.expect("a code").code(), CloseCode::DRAINING) };
        tokio::join!(game.drain(), closing);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_question_of_another_task_ends_with_the_connection() {
    let (game, _told) = serve(false);
    let mut client = join(&game).await;
    let connection = game.dispatcher().guest();
    let begun = Instant::now();
    let asking = outcome(connection.ask(&Trade { offers: 7 }));
    let leaving = async {
        assert_eq!(next(&mut client).await, question(1));
        drop(client);
    };
    assert_eq!(tokio::join!(asking, leaving).0, "closed");
    assert_eq!(begun.elapsed(), Duration::ZERO);
}
