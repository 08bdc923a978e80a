//! One client of a test.

use std::{
    borrow::Cow,
    collections::VecDeque,
    error::Error as StdError,
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use fastwebsockets::OpCode;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    time::{Instant, sleep, timeout},
};

use super::wire;
use crate::{
    language::{push::Push, syntax::Syntax},
    websocket::close::{Close, CloseCode},
};

/// How long a wait may take unless the test says otherwise.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take by a clock that has left the machine's behind, as a paused one does.
const PATIENCE_WHILE_PAUSED: Duration = Duration::from_secs(24 * 60 * 60);
/// What is read at once, in bytes.
const READ: usize = 4 * 1024;

/// A player of a test, connected by [`Served::connect`](super::Served::connect) or
/// [`connect_as`](super::Served::connect_as); dropped, it is a socket that is lost.
///
/// Every wait may be given up and begun again, by `tokio::time::timeout` or in `select!`: what had come is kept, and
/// what had been sent in part is sent on.
///
/// A wait for what never comes fails with words instead of hanging: when the connection ends, or when it did not
/// come for a minute. Where tokio's clock is paused minutes pass in no time, and it is a day of that clock: so a test
/// may wait by `tokio::time::timeout` for as long as its game takes. [`patience`](Self::patience) sets another time.
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
/// let quiet = timeout(Duration::from_secs(3600), ada.next_text()).await;
/// assert!(quiet.is_err(), "nobody has anything to say for an hour");
/// # Ok(())
/// # }
/// ```
pub struct Client {
    stream: DuplexStream,
    syntax: Syntax,
    heartbeat: Cow<'static, str>,
    subprotocol: Option<&'static str>,
    /// Frames that the server has not taken yet.
    out: Vec<u8>,
    /// The start of a frame whose rest is to come.
    received: Vec<u8>,
    /// Messages that nobody has asked for yet.
    inbox: VecDeque<Message>,
    /// A close frame of ours was sent: nothing may follow it.
    closing: bool,
    ended: Option<End>,
    next_id: u64,
    /// The number of the last ping, and that of the last one that was answered.
    pinged: u64,
    ponged: u64,
    /// The default depends on the clock.
    patience: Option<Duration>,
}

/// A message of the server's.
enum Message {
    Text(String),
    Binary(Vec<u8>),
}

/// How the server's bytes ended.
#[derive(Clone)]
enum End {
    Closed(Option<Close>),
    Lost,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(Some(close)) => {
                write!(f, "it was closed with {} {:?}", close.code().get(), close.reason())
            }
            Self::Closed(None) => f.write_str("it was closed without a code"),
            Self::Lost => f.write_str("it was lost without a close frame"),
        }
    }
}

/// Whether a client that waits answers the server's pings.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pings {
    Answered,
    Ignored,
}

/// Why a request has no result: the code and the message of its error, as the client sees them.
///
/// The code is `closed` if the connection ended before the answer came.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Failure {
    /// The code, as programs compare it.
    pub code: String,
    /// The message, as people read it.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl StdError for Failure {}

/// The answer to a request with an id.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reply {
    id: Value,
    #[serde(default)]
    result: Value,
    error: Option<Failure>,
}

impl Client {
    pub(super) fn new(
        stream: DuplexStream,
        syntax: Syntax,
        heartbeat: Cow<'static, str>,
        subprotocol: Option<&'static str>,
    ) -> Self {
        Self {
            stream,
            syntax,
            heartbeat,
            subprotocol,
            out: Vec::new(),
            received: Vec::new(),
            inbox: VecDeque::new(),
            closing: false,
            ended: None,
            next_id: 1,
            pinged: 0,
            ponged: 0,
            patience: None,
        }
    }

    /// How long a wait of this client may take before it fails, by tokio's clock.
    pub fn patience(&mut self, patience: Duration) {
        self.patience = Some(patience);
    }

    /// The subprotocol that the server chose of those that were [offered](super::Connect::subprotocol): none when
    /// none was.
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

    /// Sends a request with an id and waits for its answer. Pushes, and whatever else comes before it, are kept.
    ///
    /// A message without fields is `&()`.
    ///
    /// # Errors
    ///
    /// The error that the request was answered with, or `closed` if the connection ended before.
    ///
    /// # Panics
    ///
    /// When the message cannot be written as JSON, the result is no `R`, or there is no answer for too long.
    pub async fn request<R: DeserializeOwned>(
        &mut self,
        route: &str,
        message: &(impl Serialize + ?Sized),
    ) -> Result<R, Failure> {
        let id = self.next_id;
        self.next_id += 1;
        let text = compose(self.syntax, route, message, Some(id));
        self.send(OpCode::Text, text.as_bytes()).await;
        let id = Value::from(id);
        let what = format!("an answer to `{route}`");
        let reply = self
            .find(&what, |text| serde_json::from_str::<Reply>(text).ok().filter(|reply| reply.id == id))
            .await;
        let Reply { result, error, .. } =
            reply.map_err(|end| Failure { code: "closed".to_owned(), message: ended(&what, &end) })?;
        match error {
            Some(failure) => Err(failure),
            None => Ok(decode(&result, &format!("the result of `{route}`"))),
        }
    }

    /// Sends a request without an id: what it is answered with comes bare, to [`next_text`](Self::next_text), and
    /// nothing does if it is `null`.
    ///
    /// # Panics
    ///
    /// When the message cannot be written as JSON, or nothing can be sent because the connection has ended, as far as
    /// this client has read, or was closed by it.
    pub async fn notify(&mut self, route: &str, message: &(impl Serialize + ?Sized)) {
        self.assert_open(&format!("`{route}`"));
        let text = compose(self.syntax, route, message, None);
        self.send(OpCode::Text, text.as_bytes()).await;
    }

    /// Waits for the next push of this type, which owns what it holds: of `struct Said<'a>(&'a str)` a test receives a
    /// twin, `#[derive(Deserialize, Push)] #[push("said")] struct Heard(String)`. All else that comes before it is kept.
    ///
    /// # Panics
    ///
    /// When the push does not fit the type, the connection ends, or none comes for too long.
    pub async fn push<P: Push + DeserializeOwned>(&mut self) -> P {
        let what = format!("a push `{}`", P::NAME);
        let syntax = self.syntax;
        let is_no_question = |text: &str| question_id(text).is_none();
        let push =
            self.find(&what, |text| payload(syntax, P::NAME, text).filter(|_| is_no_question(text))).await;
        let payload = push.unwrap_or_else(|end| panic!("{}", ended(&what, &end)));
        if syntax.payload().is_none() && payload.as_object().is_some_and(Map::is_empty) {
            // A push without fields looks the same whether it is `struct Tick;` or `struct Tick {}`.
            if let Ok(push) = P::deserialize(Value::Null) {
                return push;
            }
        }
        decode(&payload, &what)
    }

    /// Waits for the next question of this type ([`Connection::ask`](crate::Connection::ask)): what is asked, and under
    /// which id. All else that comes before it is kept.
    ///
    /// # Panics
    ///
    /// When what is asked does not fit the type, the connection ends, or no question comes for too long.
    pub async fn question<P: Push + DeserializeOwned>(&mut self) -> (P, u64) {
        let what = format!("a question `{}`", P::NAME);
        let syntax = self.syntax;
        let question =
            self.find(&what, |text| Some((payload(syntax, P::NAME, text)?, question_id(text)?))).await;
        let (payload, id) = question.unwrap_or_else(|end| panic!("{}", ended(&what, &end)));
        (decode(&payload, &what), id)
    }

    /// Answers a question.
    ///
    /// # Panics
    ///
    /// When the answer cannot be written as JSON, or the connection has ended.
    pub async fn answer(&mut self, id: u64, answer: &(impl Serialize + ?Sized)) {
        let answer = serde_json::to_value(answer)
            .unwrap_or_else(|error| panic!("the answer cannot be written as JSON: {error}"));
        self.send_text(&serde_json::json!({ "id": id, "result": answer }).to_string()).await;
    }

    /// Answers a question with an error.
    ///
    /// # Panics
    ///
    /// When the connection has ended.
    pub async fn refuse(&mut self, id: u64, code: &str, message: &str) {
        let error = serde_json::json!({ "code": code, "message": message });
        self.send_text(&serde_json::json!({ "id": id, "error": error }).to_string()).await;
    }

    /// Sends a text message as it is.
    ///
    /// # Panics
    ///
    /// When the connection has ended, as [`notify`](Self::notify).
    pub async fn send_text(&mut self, text: &str) {
        self.assert_open("a text message");
        self.send(OpCode::Text, text.as_bytes()).await;
    }

    /// Sends a binary message as it is.
    ///
    /// # Panics
    ///
    /// When the connection has ended, as [`notify`](Self::notify).
    pub async fn send_binary(&mut self, bytes: &[u8]) {
        self.assert_open("a binary message");
        self.send(OpCode::Binary, bytes).await;
    }

    /// Sends the heartbeat, `p` unless [`Server::heartbeat`](crate::Server::heartbeat) says otherwise. Its answer comes
    /// to [`next_text`](Self::next_text).
    ///
    /// # Panics
    ///
    /// When the connection has ended, as [`notify`](Self::notify).
    pub async fn heartbeat(&mut self) {
        self.assert_open("a heartbeat");
        let heartbeat = self.heartbeat.clone();
        self.send(OpCode::Text, heartbeat.as_bytes()).await;
    }

    /// Sends a ping and waits for its pong. All that was sent before it has been read then; what a handler still runs
    /// for, or waits behind it, is not answered yet.
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
    /// // Without it the drain could begin before her message was read.
    /// ada.ping().await;
    /// game.drain().await;
    /// assert_eq!(ada.next_text().await.as_deref(), Some("42"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// When the connection has ended or ends before, or there is no pong for too long.
    pub async fn ping(&mut self) {
        self.assert_open("a ping");
        self.pinged += 1;
        let number = self.pinged;
        self.send(OpCode::Ping, &number.to_be_bytes()).await;
        let ponged = self.wait("a pong", |client| (client.ponged >= number).then_some(())).await;
        ponged.unwrap_or_else(|end| panic!("{}", ended("a pong", &end)));
    }

    /// The next text message that nothing else has taken, as it came; `None` when the connection has ended.
    ///
    /// # Panics
    ///
    /// When none comes for too long.
    pub async fn next_text(&mut self) -> Option<String> {
        self.find("a text message", |text| Some(text.to_owned())).await.ok()
    }

    /// The next binary message; `None` when the connection has ended.
    ///
    /// # Panics
    ///
    /// When none comes for too long.
    pub async fn next_binary(&mut self) -> Option<Vec<u8>> {
        let look = |message: &Message| match message {
            Message::Binary(bytes) => Some(bytes.clone()),
            Message::Text(_) => None,
        };
        self.take("a binary message", look).await.ok()
    }

    /// Stays for so long without a word, but answers the server's pings; or until the connection ends. What comes is
    /// kept.
    pub async fn stay(&mut self, time: Duration) {
        let never = poll_fn(|cx| self.poll_ended(cx, Pings::Answered));
        // Time that is over is what was asked for.
        let _ = timeout(time, never).await;
    }

    /// Sends a close frame; [`closed`](Self::closed) tells what the server answers. Nothing can be sent after it.
    pub async fn close(&mut self, code: CloseCode, reason: impl Into<Cow<'static, str>>) {
        let close = Close::new(code, reason);
        let payload = [&code.get().to_be_bytes(), close.reason().as_bytes()].concat();
        self.send(OpCode::Close, &payload).await;
    }

    /// Waits for the end of the connection: the close frame that the server sent, or `None` if it sent none, or one
    /// without a code. What comes before is kept.
    ///
    /// Meanwhile nothing is sent, pongs neither: it comes at the latest when the server's
    /// [idle time](crate::Server::idle_timeout) is over.
    pub async fn closed(&mut self) -> Option<Close> {
        match poll_fn(|cx| self.poll_ended(cx, Pings::Ignored)).await {
            End::Closed(close) => close,
            End::Lost => None,
        }
    }

    /// Takes the first text in which `look` finds what it looks for.
    async fn find<T>(&mut self, what: &str, look: impl Fn(&str) -> Option<T>) -> Result<T, End> {
        let look = |message: &Message| match message {
            Message::Text(text) => look(text),
            Message::Binary(_) => None,
        };
        self.take(what, look).await
    }

    /// Takes the first message in which `look` finds what it looks for.
    async fn take<T>(&mut self, what: &str, look: impl Fn(&Message) -> Option<T>) -> Result<T, End> {
        let mut seen = 0;
        let next = |client: &mut Self| {
            while let Some(message) = client.inbox.get(seen) {
                if let Some(found) = look(message) {
                    client.inbox.remove(seen);
                    return Some(found);
                }
                seen += 1;
            }
            None
        };
        self.wait(what, next).await
    }

    /// Reads until `look` finds what it looks for.
    async fn wait<T>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<T>) -> Result<T, End> {
        let mut impatience = pin!(impatience(self.patience));
        poll_fn(|cx| {
            loop {
                if let Some(found) = look(self) {
                    return Poll::Ready(Ok(found));
                }
                if let Some(end) = &self.ended {
                    return Poll::Ready(Err(end.clone()));
                }
                if self.poll_read(cx, Pings::Answered).is_pending() {
                    return impatience
                        .as_mut()
                        .poll(cx)
                        .map(|waited| panic!("waited {waited:?} for {what}, and {}", self.inbox_in_words()));
                }
            }
        })
        .await
    }

    /// What a test sends where nothing can be sent is a mistake in it.
    fn assert_open(&self, what: &str) {
        if let Some(end) = &self.ended {
            panic!("{what} cannot be sent, the connection has ended: {end}");
        }
        assert!(!self.closing, "{what} cannot be sent, this client has closed the connection");
    }

    /// What a wait in vain has to say of what came instead.
    fn inbox_in_words(&self) -> String {
        match self.inbox.iter().rev().find_map(|message| match message {
            Message::Text(text) => Some(text),
            Message::Binary(_) => None,
        }) {
            Some(text) => format!("{} other messages came, the last text {text}", self.inbox.len()),
            None => "nothing came".to_owned(),
        }
    }

    /// Queues a frame and waits until the server has taken it, reading meanwhile: two sides that only wrote would wait
    /// for each other.
    async fn send(&mut self, opcode: OpCode, payload: &[u8]) {
        if self.closing || self.ended.is_some() {
            return;
        }
        self.closing = matches!(opcode, OpCode::Close);
        wire::put(&mut self.out, opcode, payload);
        poll_fn(|cx| {
            while self.poll_write(cx).is_pending() {
                if self.ended.is_some() || self.poll_read(cx, Pings::Answered).is_pending() {
                    return if self.ended.is_some() { Poll::Ready(()) } else { Poll::Pending };
                }
            }
            Poll::Ready(())
        })
        .await;
    }

    fn poll_ended(&mut self, cx: &mut Context<'_>, pings: Pings) -> Poll<End> {
        loop {
            if let Some(end) = &self.ended {
                return Poll::Ready(end.clone());
            }
            if self.poll_read(cx, pings).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Writes what is queued. A server that takes no more may still have said why: that is for the reader to find.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.out.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.out) {
                Poll::Ready(Ok(written)) => drop(self.out.drain(..written)),
                Poll::Ready(Err(_)) => self.out.clear(),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }

    /// Reads once, and answers what asks for an answer.
    fn poll_read(&mut self, cx: &mut Context<'_>, pings: Pings) -> Poll<()> {
        // Also what a wait that was given up has left.
        let _ = self.poll_write(cx);
        let mut buffer = [0; READ];
        let mut buffer = ReadBuf::new(&mut buffer);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                self.received.extend_from_slice(buffer.filled());
                while self.ended.is_none()
                    && let Some((opcode, payload)) = wire::take(&mut self.received)
                {
                    self.take_frame(opcode, payload, pings);
                }
                let _ = self.poll_write(cx);
            }
            Poll::Ready(_) => self.ended = Some(End::Lost),
        }
        Poll::Ready(())
    }

    fn take_frame(&mut self, opcode: u8, payload: Vec<u8>, pings: Pings) {
        const TEXT: u8 = OpCode::Text as u8;
        const BINARY: u8 = OpCode::Binary as u8;
        const PING: u8 = OpCode::Ping as u8;
        const PONG: u8 = OpCode::Pong as u8;
        const CLOSE: u8 = OpCode::Close as u8;
        match opcode {
            TEXT => {
                let text = String::from_utf8(payload).expect("the server sends texts in UTF-8");
                self.inbox.push_back(Message::Text(text));
            }
            BINARY => self.inbox.push_back(Message::Binary(payload)),
            PING if pings == Pings::Answered && !self.closing => {
                wire::put(&mut self.out, OpCode::Pong, &payload);
            }
            PONG => {
                let number = payload.try_into().expect("the server sends what it was pinged with");
                self.ponged = u64::from_be_bytes(number);
            }
            CLOSE => {
                let code = payload.first_chunk().and_then(|code| CloseCode::new(u16::from_be_bytes(*code)));
                let close =
                    code.map(|code| Close::new(code, String::from_utf8_lossy(&payload[2..]).into_owned()));
                self.ended = Some(End::Closed(close));
            }
            _ => {}
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("inbox", &self.inbox.len()).finish_non_exhaustive()
    }
}

/// Ends when a wait has taken too long: after how long by tokio's clock.
async fn impatience(patience: Option<Duration>) -> Duration {
    let (begun, begun_really) = (Instant::now(), std::time::Instant::now());
    loop {
        sleep(patience.unwrap_or(PATIENCE)).await;
        let waited = begun.elapsed();
        if patience.is_some() || begun_really.elapsed() >= PATIENCE || waited >= PATIENCE_WHILE_PAUSED {
            return waited;
        }
    }
}

/// Says of a wait that the connection has ended.
fn ended(what: &str, end: &End) -> String {
    format!("the connection ended before {what} came: {end}")
}

/// The text of a request, in the dispatcher's own syntax.
fn compose(syntax: Syntax, route: &str, message: &(impl Serialize + ?Sized), id: Option<u64>) -> String {
    let unwritable = |error: &serde_json::Error| -> ! {
        panic!("the message for `{route}` cannot be written as JSON: {error}")
    };
    let Some(member) = syntax.payload() else {
        let mut members = match serde_json::to_value(message).unwrap_or_else(|error| unwritable(&error)) {
            Value::Object(members) => members,
            Value::Null => Map::new(),
            other => panic!("the message for `{route}` stands flat beside its name, so it is no {other}"),
        };
        members.insert(syntax.key().to_owned(), route.into());
        members.extend(id.map(|id| ("id".to_owned(), id.into())));
        return Value::Object(members).to_string();
    };
    let quoted = |text: &str| Value::from(text).to_string();
    let message = serde_json::to_string(message).unwrap_or_else(|error| unwritable(&error));
    let id = id.map_or_else(String::new, |id| format!(r#","id":{id}"#));
    format!("{{{}:{},{}:{message}{id}}}", quoted(syntax.key()), quoted(route), quoted(member))
}

/// The id of a question; a push has none.
fn question_id(text: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Question {
        id: u64,
    }
    serde_json::from_str::<Question>(text).ok().map(|question| question.id)
}

/// The payload of a push of this name.
fn payload(syntax: Syntax, name: &str, text: &str) -> Option<Value> {
    let mut members = serde_json::from_str::<Map<String, Value>>(text).ok()?;
    if members.remove(syntax.key())? != name {
        return None;
    }
    Some(match syntax.payload() {
        Some(member) => members.remove(member).unwrap_or_default(),
        None => Value::Object(members),
    })
}

/// A value as the type that the test expects.
fn decode<T: DeserializeOwned>(value: &Value, what: &str) -> T {
    T::deserialize(value).unwrap_or_else(|error| {
        panic!("{what} is no `{}`: {error}; it is {value}", std::any::type_name::<T>())
    })
}
