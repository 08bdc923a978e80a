//! Tests of a dispatcher without a network: in-memory clients, and tokio's clock, which a test can pause.
//!
//! A test runs the code that serves players: the checks of the handshake, `#[accept]`, `#[open]`, the connection with
//! every limit of the [`Server`], and `#[close]`. Only hyper and the socket are left out, and with them the pages and
//! the [`path`](Server::path) of the server: a path that does not belong to [another endpoint](Server::endpoint)
//! reaches the first dispatcher.
//!
//! ```
//! use kengine::{Handshake, Refusal, Uid, testing};
//!
//! struct Game;
//!
//! #[kengine::dispatcher]
//! impl Game {
//!     #[accept]
//!     async fn enter(&self, handshake: &Handshake) -> Result<Uid, Refusal> {
//!         let uid = handshake.query("uid").ok_or_else(|| Refusal::unauthorized("no uid"))?;
//!         Ok(Uid::new(uid)?)
//!     }
//!
//!     #[route]
//!     async fn chat(&self, uid: &Uid, text: String) -> String {
//!         format!("{uid} says: {text}")
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // In a `#[tokio::test]`:
//! let game = testing::serve(Game);
//! let mut ada = game.connect("/ws?uid=7").await?;
//! assert_eq!(ada.request::<String>("chat", "hello").await?, "7 says: hello");
//!
//! let refusal = game.connect("/ws").await.unwrap_err();
//! assert_eq!((refusal.status(), refusal.message()), (401, "no uid"));
//! # Ok(())
//! # }
//! ```
//!
//! # Rates
//!
//! Clients of a test have the [rates](crate::wire#rates) of the server too: by default 200 messages at once and 100 a
//! second, and 50 joins at once and 10 a second. While tokio's clock is paused, no time passes between messages. A test
//! that sends more switches the limits off:
//!
//! ```
//! use kengine::{Server, testing};
//! # struct Game;
//! # #[kengine::dispatcher]
//! # impl Game { #[route] async fn ping(&self) {} }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let game = testing::serve(Server::new(Game).max_messages_per_second(u32::MAX, 1));
//! let mut ada = game.connect("/ws").await?;
//! for _ in 0..1000 {
//!     ada.request::<()>("ping", &()).await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Time
//!
//! Under `#[tokio::test(start_paused = true)]`, which needs tokio's feature `test-util`, timeouts take no real time and
//! pass in the same order in every run:
//!
//! ```
//! use std::time::Duration;
//!
//! use kengine::{CloseCode, Server, testing};
//! # struct Game;
//! # #[kengine::dispatcher]
//! # impl Game { #[route] async fn ping(&self) {} }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let game = testing::serve(Server::new(Game).idle_timeout(Duration::from_secs(20)));
//! let mut ada = game.connect("/ws").await?;
//! // She sends nothing, but answers pings:
//! ada.stay(Duration::from_secs(3600)).await;
//! ada.request::<()>("ping", &()).await?;
//! // Now she does not answer pings:
//! tokio::time::sleep(Duration::from_secs(21)).await;
//! assert_eq!(ada.closed().await.unwrap().code(), CloseCode::HEARTBEAT_TIMEOUT);
//! # Ok(())
//! # }
//! ```
//!
//! [`Session::expires`](crate::Session::expires) is a time of the system's clock, which no test can pause. So the
//! server adds how far tokio's clock is ahead of real time: a session that is valid for an hour when the test begins
//! expires when tokio's clock has advanced by an hour. `SystemTime::now()` does not advance in the test, nor in a
//! handler.
//!
//! A [`Client`] has no task. It reads, and answers the server's pings, only while one of its methods is awaited, so a
//! test can make a client slow or silent. A client that must stay connected while time passes awaits
//! [`stay`](Client::stay). The server does not wait for a client's close frame: memory loses nothing, so a connection
//! ends as soon as everything is written.
//!
//! # Clients that hang
//!
//! A player whose phone loses its network comes back on a new connection while the old socket still seems to be open.
//! [`Client::hang`] makes a client that neither reads nor answers the close frame, so the server waits for it as it
//! waits for a socket: for [`Server::close_timeout`] after the end of the connection, and for [`Server::idle_timeout`]
//! until then. [Everything else](macro@crate::close#the-next-connection-of-the-user) has to be right at once:
//!
//! ```
//! use kengine::{Connection, Error, Hub, Uid, testing};
//!
//! struct Game;
//!
//! #[kengine::dispatcher(session = Uid)]
//! impl Game {
//!     #[route]
//!     async fn play(&self, hub: &Hub, connection: &Connection<Uid>) -> Result<String, Error> {
//!         Ok(hub.rooms("arena-").fill(9, connection).await?.name().to_owned())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let game = testing::serve(Game);
//! let mut ada = game.connect_as(Uid::from(7)).await?;
//! let arena = ada.request::<String>("play", &()).await?;
//! let hung = ada.hang();
//! let mut ada = game.connect_as(Uid::from(7)).await?;
//! assert_eq!(ada.request::<String>("play", &()).await?, arena);
//! assert_eq!(game.hub().rooms("arena-").local_list()[0].members, 1);
//! # drop(hung);
//! # Ok(())
//! # }
//! ```

#[cfg(kengine_bench)]
pub mod benchmarking;
mod client;
#[cfg(fuzzing)]
pub mod fuzzing;
mod messages;
mod returning;
mod socket;
mod wire;

pub use self::client::{Client, HungClient, RequestError};
pub use self::returning::AbsentClient;
use self::returning::ClientSession;
use self::socket::ClientSocket;

use std::{
    collections::VecDeque,
    fmt,
    future::IntoFuture,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, atomic::AtomicBool},
};

use hyper::header::{
    CONNECTION, HOST, HeaderName, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use hyper::{HeaderMap, Request};
use tokio::io::DuplexStream;

use crate::connection::{Endpoint, MemoryPipe, OtherTransport, Transport};
use crate::dispatch::Dispatcher;
use crate::handles::Hub;
use crate::http::Refusal;
use crate::protocol::resumption::RESUME_SUBPROTOCOL;
use crate::server::Server;
use crate::server::routes::Routes;
use crate::server::upgrade::{Connected, connect_as, set_expiry};

/// How much one side can write before the other reads, in bytes. It takes the place of the kernel's buffers.
const BUFFER_SIZE: usize = 16 * 1024;

/// The host of a request, unless the test or [`Server::hosts`] sets it.
const TEST_HOST: &str = "kengine.test";

/// The header fields of a request for a WebSocket besides `Host`, unless the test sets them.
const FIELDS: [(HeaderName, &str); 4] = [
    (CONNECTION, "upgrade"),
    (UPGRADE, "websocket"),
    (SEC_WEBSOCKET_VERSION, "13"),
    (SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// Serves a dispatcher, or a configured [`Server`], to the clients of a test.
///
/// ```
/// use std::time::Duration;
///
/// use kengine::{Server, testing};
/// # struct Game;
/// # #[kengine::dispatcher]
/// # impl Game { #[route] async fn ping(&self) {} }
///
/// let game = testing::serve(Game);
/// let hasty = testing::serve(Server::new(Game).handler_timeout(Duration::from_millis(50)));
/// ```
///
/// # Panics
///
/// When the configuration is invalid, as described for [`Server::bind`].
pub fn serve<D: Dispatcher>(server: impl Into<Server<D>>) -> Served<D> {
    let server = server.into();
    let (first, routes) =
        server.check().and_then(|()| server.into_parts(None)).unwrap_or_else(|error| panic!("{error}"));
    Served { first, routes: Arc::new(routes) }
}

/// A dispatcher that is served to the clients of a test, created by [`serve`]. All clients are cut off when it is
/// dropped.
#[derive(Debug)]
#[must_use = "clients are cut off when it is dropped"]
pub struct Served<D> {
    first: Arc<Endpoint<D>>,
    routes: Arc<Routes>,
}

impl<D: Dispatcher> Served<D> {
    /// Requests a connection at a path, which may have a query. Awaiting it returns a [`Client`], or the [`Refusal`] of
    /// `#[accept]` or of the server.
    ///
    /// ```
    /// # use kengine::testing;
    /// # struct Game;
    /// # #[kengine::dispatcher]
    /// # impl Game { #[route] async fn ping(&self) {} }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let game = testing::serve(Game);
    /// let ada = game.connect("/ws?uid=7").header("authorization", "Bearer abc").await?;
    /// let bob = game.connect("/ws").subprotocol("kengine.v1.json").subprotocol("abc").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn connect(&self, path: impl Into<String>) -> Connect<'_, D> {
        let path = path.into();
        Connect { served: self, path, fields: Vec::new(), offers: Vec::new(), peer: None, absent: None }
    }

    /// Opens a connection with this session, without `#[accept]`.
    ///
    /// # Errors
    ///
    /// 503 if the server is full or drains, 401 if the session has expired.
    pub async fn connect_as(&self, session: D::Session) -> Result<Client, Refusal> {
        let (stream, hangs) = self.open(session).await?;
        Ok(self.client(stream, hangs, Connected { subprotocol: None, syntax: const { &D::SYNTAX } }))
    }

    /// Opens a connection with this session, without `#[accept]`, and returns the client's end of its stream, and what
    /// says whether the client hangs.
    async fn open(&self, session: D::Session) -> Result<(DuplexStream, Arc<AtomicBool>), Refusal> {
        let mut slot = self.first.node.take_slot(None, None, false)?;
        set_expiry(&mut slot, &session)?;
        let (ours, theirs, hangs) = pipe();
        connect_as(Arc::clone(&self.first), session, slot, theirs).await;
        Ok((ours, hangs))
    }

    fn client(&self, stream: DuplexStream, hangs: Arc<AtomicBool>, connected: Connected) -> Client {
        let heartbeat = self.routes.node.limits.heartbeat.request.clone();
        Client::new(ClientSocket::new(stream, hangs), *connected.syntax, heartbeat, connected.subprotocol)
    }

    /// Returns the dispatcher, for assertions about what its handlers did.
    pub fn dispatcher(&self) -> &D {
        &self.first.dispatcher
    }

    /// Returns the handle on rooms, users and connections.
    pub fn hub(&self) -> Hub {
        Hub::new(Arc::clone(&self.routes.node))
    }

    /// Drains as [`Bound::serve`](crate::Bound::serve) does: new connections are refused with 503, messages that were
    /// read are answered, and every connection is closed with 4000. Returns when all connections have ended and
    /// `#[close]` has run.
    ///
    /// The clients need not be awaited meanwhile: what is sent to them is kept, up to the close frame. Only a client
    /// with more than 16 KiB unread delays the drain, for up to [`Server::close_timeout`].
    pub async fn drain(&self) {
        self.routes.node.drain().await;
    }

    /// Waits until there are no connections, and `#[close]` has run for all of them.
    pub async fn emptied(&self) {
        self.routes.node.emptied().await;
    }
}

/// Returns the client's and the server's end of a pipe, and what tells the server that the client hangs.
fn pipe() -> (DuplexStream, Transport, Arc<AtomicBool>) {
    let (ours, theirs) = tokio::io::duplex(BUFFER_SIZE);
    let hangs = Arc::new(AtomicBool::new(false));
    (ours, OtherTransport::Memory(MemoryPipe::new(theirs, Arc::clone(&hangs))).into(), hangs)
}

impl<D> Drop for Served<D> {
    fn drop(&mut self) {
        // No task may outlive its test.
        self.routes.node.abandon();
    }
}

/// A request for a connection, created by [`Served::connect`]. It is sent when it is awaited.
#[must_use = "a request is sent when it is awaited"]
pub struct Connect<'a, D> {
    served: &'a Served<D>,
    path: String,
    fields: Vec<(String, String)>,
    offers: Vec<String>,
    peer: Option<SocketAddr>,
    /// The client that comes back, or a new one that can resume its session.
    absent: Option<AbsentClient>,
}

impl<D> Connect<'_, D> {
    /// Adds a header field. It replaces the default value of `Host`, `Upgrade` and the other fields that a request for
    /// a WebSocket needs. The default of `Host` is the first of [`Server::hosts`].
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// Offers a subprotocol, after those offered before.
    pub fn subprotocol(mut self, offer: impl Into<String>) -> Self {
        self.offers.push(offer.into());
        self
    }

    /// Makes the client follow the [protocol](crate::guide::protocol) of a client that can resume its session, which
    /// [`Server::resume_within`] must allow.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use kengine::{Server, testing};
    /// # struct Game;
    /// # #[kengine::dispatcher]
    /// # impl Game { #[route] async fn ping(&self) {} }
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let game = testing::serve(Server::new(Game).resume_within(Duration::from_secs(30)));
    /// let ada = game.connect("/ws").resumable().await?;
    /// let away = ada.cut();
    /// tokio::time::sleep(Duration::from_secs(29)).await;
    /// assert_eq!(game.hub().suspended(), 1);
    /// let mut ada = game.connect("/ws").resume(away).await?;
    /// assert_eq!(ada.is_resumed(), Some(true));
    /// ada.request::<()>("ping", &()).await?;
    ///
    /// let away = ada.cut();
    /// tokio::time::sleep(Duration::from_secs(31)).await;
    /// let ada = game.connect("/ws").resume(away).await?;
    /// assert_eq!(ada.is_resumed(), Some(false), "another session has begun");
    /// # Ok(())
    /// # }
    /// ```
    pub fn resumable(self) -> Self {
        let heartbeat = &self.served.routes.node.limits.heartbeat;
        let session = ClientSession::new([heartbeat.request.clone(), heartbeat.answer.clone()]);
        let new = AbsentClient { session, texts: VecDeque::new(), binaries: VecDeque::new(), next_id: 1 };
        Self { absent: Some(new), ..self.subprotocol(RESUME_SUBPROTOCOL) }
    }

    /// Lets a client come back whose connection was [cut](Client::cut), and resume its session. It keeps what it had
    /// received. [`Client::is_resumed`] says whether the session has gone on.
    pub fn resume(mut self, absent: AbsentClient) -> Self {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        self.path = format!("{}{separator}{}", self.path, absent.session.parameters());
        Self { absent: Some(absent), ..self.subprotocol(RESUME_SUBPROTOCOL) }
    }

    /// Sets the address that the request comes from. By default it is unknown, and then the [limits of a client
    /// address](Server::max_pending_handshakes_per_address) do not apply.
    pub fn peer(mut self, peer: SocketAddr) -> Self {
        self.peer = Some(peer);
        self
    }

    /// Returns the request. Panics if it is invalid, since that is a mistake in the test and not a refusal.
    fn request(&self) -> Request<()> {
        let mut request = Request::new(());
        let path = &self.path;
        assert!(path.starts_with('/'), "`{path}` is not a path; begin it with a slash, as in `/ws?uid=7`");
        *request.uri_mut() = path.parse().unwrap_or_else(|error| panic!("`{path}` is not a valid path: {error}"));
        let headers = request.headers_mut();
        for (name, value) in &self.fields {
            append(headers, name, value);
        }
        if !self.offers.is_empty() {
            append(headers, SEC_WEBSOCKET_PROTOCOL.as_str(), &self.offers.join(", "));
        }
        if !headers.contains_key(HOST) {
            let host = self.served.first.access.hosts.example();
            append(headers, HOST.as_str(), host.as_deref().unwrap_or(TEST_HOST));
        }
        for (name, value) in FIELDS {
            headers.entry(name).or_insert(HeaderValue::from_static(value));
        }
        request
    }
}

fn append(headers: &mut HeaderMap, name: &str, value: &str) {
    let Ok(field) = name.parse::<HeaderName>() else { panic!("`{name}` is not a valid header name") };
    let Ok(text) = HeaderValue::from_str(value) else { panic!("`{value}` is not a valid header value") };
    headers.append(field, text);
}

impl<D> fmt::Debug for Connect<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect").field("path", &self.path).field("fields", &self.fields).finish_non_exhaustive()
    }
}

impl<'a, D: Dispatcher> IntoFuture for Connect<'a, D> {
    type Output = Result<Client, Refusal>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    /// # Panics
    ///
    /// When the path or a header field is invalid.
    fn into_future(self) -> Self::IntoFuture {
        let request = self.request();
        let endpoint = self.served.routes.endpoint_or(request.uri().path(), &self.served.first);
        let (ours, theirs, hangs) = pipe();
        let connecting = endpoint.connect(request, self.peer, theirs);
        Box::pin(async {
            let mut client = self.served.client(ours, hangs, connecting.await?);
            if let Some(absent) = self.absent {
                client.begin(absent).await;
            }
            Ok(client)
        })
    }
}
