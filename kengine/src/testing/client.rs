//! The client of a test.

use std::{borrow::Cow, error::Error as StdError, fmt, time::Duration};

use fastwebsockets::OpCode;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::time::timeout;

use crate::protocol::{Push, Syntax};
use crate::testing::messages::{compose_request, decode, decode_push, push_payload, question};
use crate::testing::returning::AbsentClient;
use crate::testing::socket::{ClientSocket, End, Pings};
use crate::websocket::{Close, CloseCode};

/// The client of a test, connected by [`Served::connect`](super::Served::connect) or
/// [`connect_as`](super::Served::connect_as). When it is dropped, the server sees a lost socket.
///
/// Every wait can be cancelled and repeated, for example by `tokio::time::timeout` or in `select!`: received messages
/// are kept, and the rest of a message that was sent in part is sent later.
///
/// A wait fails with an explanation when the connection ends or a timeout passes. The timeout is a minute. While
/// tokio's clock is paused, it is a day of that clock, because paused time passes at once. So a test can use
/// `tokio::time::timeout` with any duration that its game needs. [`set_timeout`](Self::set_timeout) changes it.
///
/// ```
/// use std::time::Duration;
///
/// use kengine::testing;
/// use tokio::time::timeout;
/// # struct Game;
/// # #[kengine::dispatcher]
/// # impl Game { #[route] async fn ping(&self) {} }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let game = testing::serve(Game);
/// let mut ada = game.connect("/ws").await?;
/// let text = timeout(Duration::from_secs(3600), ada.next_text()).await;
/// assert!(text.is_err(), "nothing is sent for an hour");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Client {
    socket: ClientSocket,
    syntax: Syntax,
    heartbeat: Cow<'static, str>,
    subprotocol: Option<&'static str>,
    next_id: u64,
}

/// A client that hangs, from [`Client::hang`].
#[derive(Debug)]
#[must_use = "the server sees a lost socket when it is dropped"]
pub struct HungClient {
    client: Client,
}

impl HungClient {
    /// Lets the client go on. It reads what the server has sent meanwhile, and answers a close frame.
    pub fn wake(self) -> Client {
        self.client.socket.hang(false);
        self.client
    }
}

/// Why a request has no result: the code and the message of the error, as the client sees them.
///
/// The code is `closed` if the connection ended before the answer came.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RequestError {
    /// The code, which is for programs.
    pub code: String,
    /// The message, which is for people.
    pub message: String,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl StdError for RequestError {}

/// The answer to a request with an id.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestAnswer {
    id: Value,
    #[serde(default)]
    result: Value,
    error: Option<RequestError>,
}

impl Client {
    pub(super) fn new(
        socket: ClientSocket,
        syntax: Syntax,
        heartbeat: Cow<'static, str>,
        subprotocol: Option<&'static str>,
    ) -> Self {
        Self { socket, syntax, heartbeat, subprotocol, next_id: 1 }
    }

    /// Makes the client hang: it reads nothing and answers nothing, not even the server's close frame, until it
    /// [wakes](HungClient::wake). What the server sends is kept up to 16 KiB. When the hung client is dropped, the
    /// server sees a lost socket.
    pub fn hang(self) -> HungClient {
        self.socket.hang(true);
        HungClient { client: self }
    }

    /// Cuts the connection: the server sees a lost socket. A client that was [resumable](super::Connect::resumable)
    /// comes back by [`Connect::resume`](super::Connect::resume).
    ///
    /// # Panics
    ///
    /// When the client is not resumable.
    pub fn cut(self) -> AbsentClient {
        let next_id = self.next_id;
        let (session, texts, binaries) =
            self.socket.cut().expect("a client that can resume its session; connect it with `Connect::resumable`");
        AbsentClient { session, texts, binaries, next_id }
    }

    /// Returns whether the session has gone on for a client that has come [back](super::Connect::resume). If it has
    /// not, another session has begun. Returns `None` for any other client.
    pub fn is_resumed(&self) -> Option<bool> {
        self.socket.resumed()
    }

    /// Goes on as the client that came back, or begins a session that can be resumed.
    pub(super) async fn begin(&mut self, absent: AbsentClient) {
        self.next_id = absent.next_id;
        self.socket.begin(absent.session, absent.texts, absent.binaries).await;
    }

    /// Sets how long a wait of this client may take before it fails, by tokio's clock.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.socket.set_timeout(timeout);
    }

    /// Returns the subprotocol that the server chose among those that were [offered](super::Connect::subprotocol), or
    /// `None` if none was offered.
    ///
    /// ```
    /// # use kengine::testing;
    /// # struct Game;
    /// # #[kengine::dispatcher]
    /// # impl Game { #[route] async fn ping(&self) {} }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let game = testing::serve(Game);
    /// let ada = game.connect("/ws").subprotocol("a token").subprotocol("kengine.v1.json").await?;
    /// assert_eq!(ada.subprotocol(), Some("kengine.v1.json"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn subprotocol(&self) -> Option<&str> {
        self.subprotocol
    }

    /// Sends a request with an id and waits for its answer. Everything that comes before the answer is kept.
    ///
    /// For a message without fields, pass `&()`.
    ///
    /// # Errors
    ///
    /// The error in the answer, or `closed` if the connection ends first.
    ///
    /// # Panics
    ///
    /// When the message cannot be written as JSON, the result cannot be read as an `R`, or the timeout passes.
    pub async fn request<R: DeserializeOwned>(
        &mut self,
        route: &str,
        message: &(impl Serialize + ?Sized),
    ) -> Result<R, RequestError> {
        let id = self.next_id;
        self.next_id += 1;
        let text = compose_request(self.syntax, route, message, Some(id));
        self.socket.send(OpCode::Text, text.as_bytes()).await;
        let id = Value::from(id);
        let what = format!("an answer to `{route}`");
        let is_reply = |text: &str| serde_json::from_str::<RequestAnswer>(text).ok().filter(|reply| reply.id == id);
        let reply = self.socket.take_text(&what, is_reply).await;
        let RequestAnswer { result, error, .. } =
            reply.map_err(|end| RequestError { code: "closed".to_owned(), message: ended_before(&what, &end) })?;
        match error {
            Some(error) => Err(error),
            None => Ok(decode(&result, &format!("the result of `{route}`"))),
        }
    }

    /// Sends a request without an id. Its answer is a bare text, which [`next_text`](Self::next_text) returns; a `null`
    /// is not sent.
    ///
    /// # Panics
    ///
    /// When the message cannot be written as JSON, this client has closed the connection, or it has read that the
    /// connection has ended.
    pub async fn notify(&mut self, route: &str, message: &(impl Serialize + ?Sized)) {
        self.socket.assert_open(&format!("`{route}`"));
        let text = compose_request(self.syntax, route, message, None);
        self.socket.send(OpCode::Text, text.as_bytes()).await;
    }

    /// Waits for the next push of this type. Everything else that comes before is kept.
    ///
    /// The type must own what it holds. For a push that borrows, such as `struct Said<'a>(&'a str)`, declare another
    /// type with the same name: `#[derive(Deserialize, Push)] #[push("said")] struct OwnedSaid(String)`.
    ///
    /// # Panics
    ///
    /// When the push cannot be read as a `P`, the connection ends, or the timeout passes.
    pub async fn push<P: Push + DeserializeOwned>(&mut self) -> P {
        let (what, syntax) = (format!("a push `{}`", P::NAME), self.syntax);
        let payload = self.socket.take_text(&what, |text| push_payload(syntax, P::NAME, text)).await;
        decode_push(syntax, &expect(payload, &what), &what)
    }

    /// Waits for the next question of this type ([`Connection::ask`](crate::Connection::ask)), and returns it with its
    /// id. Everything else that comes before is kept.
    ///
    /// # Panics
    ///
    /// When the question cannot be read as a `P`, the connection ends, or the timeout passes.
    pub async fn question<P: Push + DeserializeOwned>(&mut self) -> (P, u64) {
        let (what, syntax) = (format!("a question `{}`", P::NAME), self.syntax);
        let question = self.socket.take_text(&what, |text| question(syntax, P::NAME, text)).await;
        let (payload, id) = expect(question, &what);
        (decode(&payload, &what), id)
    }

    /// Answers a question.
    ///
    /// # Panics
    ///
    /// When the answer cannot be written as JSON, or nothing can be sent, as for [`notify`](Self::notify).
    pub async fn answer(&mut self, id: u64, answer: &(impl Serialize + ?Sized)) {
        let answer = serde_json::to_value(answer)
            .unwrap_or_else(|error| panic!("the answer cannot be written as JSON: {error}"));
        self.send_text(&serde_json::json!({ "id": id, "result": answer }).to_string()).await;
    }

    /// Answers a question with an error.
    ///
    /// # Panics
    ///
    /// When nothing can be sent, as for [`notify`](Self::notify).
    pub async fn refuse(&mut self, id: u64, code: &str, message: &str) {
        let error = serde_json::json!({ "code": code, "message": message });
        self.send_text(&serde_json::json!({ "id": id, "error": error }).to_string()).await;
    }

    /// Sends a text message as it is.
    ///
    /// # Panics
    ///
    /// When nothing can be sent, as for [`notify`](Self::notify).
    pub async fn send_text(&mut self, text: &str) {
        self.socket.assert_open("a text message");
        self.socket.send(OpCode::Text, text.as_bytes()).await;
    }

    /// Sends a binary message as it is.
    ///
    /// # Panics
    ///
    /// When nothing can be sent, as for [`notify`](Self::notify).
    pub async fn send_binary(&mut self, bytes: &[u8]) {
        self.socket.assert_open("a binary message");
        self.socket.send(OpCode::Binary, bytes).await;
    }

    /// Sends the heartbeat of [`Server::heartbeat`](crate::Server::heartbeat), by default `p`. Its answer is a text,
    /// which [`next_text`](Self::next_text) returns.
    ///
    /// # Panics
    ///
    /// When nothing can be sent, as for [`notify`](Self::notify).
    pub async fn heartbeat(&mut self) {
        self.socket.assert_open("a heartbeat");
        self.socket.send(OpCode::Text, self.heartbeat.as_bytes()).await;
    }

    /// Sends a ping and waits for its pong. A client may send 20 pings at once
    /// ([`Server::max_pings_per_second`](crate::Server::max_pings_per_second)). When this returns, the server has read
    /// everything that was sent before the ping, but not necessarily handled it.
    ///
    /// ```
    /// # use kengine::testing;
    /// # struct Game;
    /// # #[kengine::dispatcher]
    /// # impl Game { #[route] async fn think(&self) -> u8 { tokio::task::yield_now().await; 42 } }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let game = testing::serve(Game);
    /// let mut ada = game.connect("/ws").await?;
    /// ada.notify("think", &()).await;
    /// // Without this ping the drain could begin before the server has read the message.
    /// ada.ping().await;
    /// game.drain().await;
    /// assert_eq!(ada.next_text().await.as_deref(), Some("42"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// When nothing can be sent, as for [`notify`](Self::notify), the connection ends, or the timeout passes.
    pub async fn ping(&mut self) {
        self.socket.assert_open("a ping");
        expect(self.socket.ping().await, "a pong");
    }

    /// Waits for the next text message that no other method has taken, and returns it as it came. Returns `None` when
    /// the connection has ended.
    ///
    /// # Panics
    ///
    /// When the timeout passes.
    pub async fn next_text(&mut self) -> Option<String> {
        self.socket.take_text("a text message", |text| Some(text.to_owned())).await.ok()
    }

    /// Waits for the next binary message. Returns `None` when the connection has ended.
    ///
    /// # Panics
    ///
    /// When the timeout passes.
    pub async fn next_binary(&mut self) -> Option<Vec<u8>> {
        self.socket.take_binary().await.ok()
    }

    /// Answers the server's pings and sends nothing else, for this long or until the connection ends. Everything that
    /// comes is kept.
    pub async fn stay(&mut self, time: Duration) {
        // It does not matter which of the two came first.
        let _ = timeout(time, self.socket.ended(Pings::Answered)).await;
    }

    /// Sends a close frame. Nothing can be sent after it. [`closed`](Self::closed) returns the server's answer.
    pub async fn close(&mut self, code: CloseCode, reason: impl Into<Cow<'static, str>>) {
        let close = Close::new(code, reason);
        let payload = [&code.get().to_be_bytes(), close.reason().as_bytes()].concat();
        self.socket.send(OpCode::Close, &payload).await;
    }

    /// Waits for the end of the connection and returns the server's close frame. Returns `None` if there was no close
    /// frame, or one without a code. Everything that comes before is kept.
    ///
    /// Pings are not answered meanwhile, so the connection ends at the latest when the server's
    /// [`idle_timeout`](crate::Server::idle_timeout) has passed.
    pub async fn closed(&mut self) -> Option<Close> {
        match self.socket.ended(Pings::Ignored).await {
            End::Closed(close) => close,
            End::Lost => None,
        }
    }
}

/// Returns what a test waited for, and panics if the connection ended first.
fn expect<T>(awaited: Result<T, End>, what: &str) -> T {
    awaited.unwrap_or_else(|end| panic!("{}", ended_before(what, &end)))
}

fn ended_before(what: &str, end: &End) -> String {
    format!("the connection ended before {what} came: {end}")
}
