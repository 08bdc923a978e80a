//! Tests of a dispatcher without a network: clients over memory, and tokio's clock, which a test may pause.
//!
//! What runs is what serves: the checks of the handshake, `#[accept]`, `#[open]`, the loop of the connection with
//! every limit of the [`Server`], `#[close]`. Only hyper and the socket are missing, and with them the
//! server's pages and its [`path`](Server::path): a path that is no [other endpoint's](Server::endpoint) reaches the
//! server's first dispatcher, which sees it.
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
//!         let uid = handshake.query("uid").ok_or_else(|| Refusal::unauthorized("who are you?"))?;
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
//! assert_eq!((refusal.status(), refusal.message()), (401, "who are you?"));
//! # Ok(())
//! # }
//! ```
//!
//! # Time
//!
//! Under `#[tokio::test(start_paused = true)]` (tokio's feature `test-util`) every limit in time passes in no time,
//! and in the same order on every run:
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
//! // Here and answering pings, though she has nothing to say:
//! ada.stay(Duration::from_secs(3600)).await;
//! ada.request::<()>("ping", &()).await?;
//! // Away: nobody reads, nobody answers pings.
//! tokio::time::sleep(Duration::from_secs(21)).await;
//! assert_eq!(ada.closed().await.unwrap().code(), CloseCode::HEARTBEAT_TIMEOUT);
//! # Ok(())
//! # }
//! ```
//!
//! A [`Client`] has no task of its own: it reads, and answers the server's pings, while a method of it is awaited, and
//! is a player whose machine hangs otherwise. So a test may let a client be slow or silent, and one that has a lot of
//! time to pass says [`stay`](Client::stay). Only its close frames nobody waits for: memory loses nothing, so a
//! connection is over as soon as all that is to be said to it is.

mod client;
mod wire;

pub use self::client::{Client, Failure};

use std::{fmt, future::IntoFuture, net::SocketAddr, pin::Pin, sync::Arc};

use hyper::{
    HeaderMap, Request,
    header::{
        CONNECTION, HOST, HeaderName, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
        SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};
use tokio::io::DuplexStream;

use crate::{
    connection::transport::Transport,
    dispatch::dispatcher::Dispatcher,
    handles::hub::Hub,
    http::refusal::Refusal,
    server::{
        Server,
        any_endpoint::{AnyEndpoint, Connected, Guarded},
        routes::Routes,
        upgrade,
    },
};

/// What memory holds of what one side wrote and the other has not read, in bytes, in place of the kernel.
const IN_FLIGHT: usize = 16 * 1024;

/// The header fields of a request for a WebSocket, unless the test gives its own.
const FIELDS: [(HeaderName, &str); 5] = [
    (HOST, "kengine.test"),
    (CONNECTION, "upgrade"),
    (UPGRADE, "websocket"),
    (SEC_WEBSOCKET_VERSION, "13"),
    (SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// Serves a dispatcher to the clients of a test, or a server of one, with its limits and origins.
///
/// ```
/// use std::time::Duration;
///
/// use kengine::{Server, testing};
/// # struct Game;
/// # #[kengine::dispatcher]
/// # impl Game { #[route] async fn ping(&self) {} }
///
/// let usual = testing::serve(Game);
/// let brief = testing::serve(Server::new(Game).handler_timeout(Duration::from_millis(50)));
/// ```
///
/// # Panics
///
/// When [`Server::bind`] would not bind what is configured: a mistake is found here, too.
pub fn serve<D: Dispatcher>(server: impl Into<Server<D>>) -> Served<D> {
    let server = server.into();
    let (first, routes) =
        server.check().and_then(|()| server.into_parts(None)).unwrap_or_else(|error| panic!("{error}"));
    Served { first, routes }
}

/// A dispatcher that is served to the clients of a test: made by [`serve`]. When it is dropped every client is cut off.
#[derive(Debug)]
#[must_use = "clients are cut off when it is dropped"]
pub struct Served<D> {
    first: Guarded<D>,
    routes: Routes,
}

impl<D: Dispatcher> Served<D> {
    /// Asks for a connection, as a GET of this path and query does; awaited, it is a [`Client`] or what `#[accept]`,
    /// or the server, refused it with.
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
        Connect { served: self, path: path.into(), fields: Vec::new(), offers: Vec::new(), peer: None }
    }

    /// Makes a connection with this session, past `#[accept]`.
    ///
    /// # Errors
    ///
    /// 503 when the server is full, or drains.
    pub async fn connect_as(&self, session: D::Session) -> Result<Client, Refusal> {
        let endpoint = &self.first.endpoint;
        let slot = upgrade::take_slot(&endpoint.node, None)?;
        let (ours, theirs) = tokio::io::duplex(IN_FLIGHT);
        upgrade::start(Arc::clone(endpoint), session, slot, None, Transport::Memory(theirs)).await;
        Ok(self.client(ours, Connected { subprotocol: None, syntax: const { &D::SYNTAX } }))
    }

    fn client(&self, stream: DuplexStream, connected: Connected) -> Client {
        let heartbeat = self.routes.node.limits().heartbeat.request.clone();
        Client::new(stream, *connected.syntax, heartbeat, connected.subprotocol)
    }

    /// The dispatcher, to look at what its handlers have done.
    pub fn dispatcher(&self) -> &D {
        &self.first.endpoint.dispatcher
    }

    /// The server's handle: who is connected, in which rooms, and how to reach them.
    pub fn hub(&self) -> Hub {
        Hub::new(Arc::clone(&self.routes.node))
    }

    /// Drains as [`Bound::serve`](crate::Bound::serve) does: new connections are refused with 503, what was read is
    /// answered, every connection is closed with 4000; returns when all are gone and `#[close]` has seen them off.
    ///
    /// Nobody has to await the clients meanwhile: what is sent to them is kept, the close frame last. Only one that
    /// has left much unread (16 KiB) is waited for, for [`Server::close_timeout`].
    pub async fn drain(&self) {
        self.routes.node.drain().await;
    }

    /// Waits until nobody is connected, and `#[close]` has seen everyone off.
    pub async fn emptied(&self) {
        self.routes.node.emptied().await;
    }
}

impl<D> Drop for Served<D> {
    fn drop(&mut self) {
        // No task outlives its test.
        self.routes.node.abandon();
    }
}

/// A request for a connection, sent when it is awaited: made by [`Served::connect`].
#[must_use = "a request is sent when it is awaited"]
pub struct Connect<'a, D> {
    served: &'a Served<D>,
    path: String,
    fields: Vec<(String, String)>,
    offers: Vec<String>,
    peer: Option<SocketAddr>,
}

impl<D> Connect<'_, D> {
    /// Adds a header field. `Host`, `Upgrade` and the others of a WebSocket are there unless they are given here.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// Offers a subprotocol, after those offered before.
    pub fn subprotocol(mut self, offer: impl Into<String>) -> Self {
        self.offers.push(offer.into());
        self
    }

    /// Comes from this address; from none unless it is said.
    pub fn peer(mut self, peer: SocketAddr) -> Self {
        self.peer = Some(peer);
        self
    }

    /// The request. One that cannot be written is a mistake in the test, which no refusal shall hide.
    fn request(&self) -> Request<()> {
        let mut request = Request::new(());
        let path = &self.path;
        assert!(path.starts_with('/'), "`{path}` is no path: it starts with a slash, as `/ws?uid=7` does");
        *request.uri_mut() = path.parse().unwrap_or_else(|error| panic!("`{path}` is no path: {error}"));
        let headers = request.headers_mut();
        for (name, value) in &self.fields {
            append(headers, name, value);
        }
        if !self.offers.is_empty() {
            append(headers, SEC_WEBSOCKET_PROTOCOL.as_str(), &self.offers.join(", "));
        }
        for (name, value) in FIELDS {
            headers.entry(name).or_insert(HeaderValue::from_static(value));
        }
        request
    }
}

fn append(headers: &mut HeaderMap, name: &str, value: &str) {
    let Ok(field) = name.parse::<HeaderName>() else { panic!("`{name}` is no name of a header field") };
    let Ok(text) = HeaderValue::from_str(value) else { panic!("`{value}` is no value of a header field") };
    headers.append(field, text);
}

impl<D> fmt::Debug for Connect<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("path", &self.path)
            .field("fields", &self.fields)
            .finish_non_exhaustive()
    }
}

impl<'a, D: Dispatcher> IntoFuture for Connect<'a, D> {
    type Output = Result<Client, Refusal>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    /// # Panics
    ///
    /// When the path or a header field is none.
    fn into_future(self) -> Self::IntoFuture {
        let request = self.request();
        let endpoint: &'a dyn AnyEndpoint = match self.served.routes.endpoint(request.uri().path()) {
            Some(endpoint) => &**endpoint,
            None => &self.served.first,
        };
        let (ours, theirs) = tokio::io::duplex(IN_FLIGHT);
        let connecting = endpoint.connect(request, self.peer, Transport::Memory(theirs));
        Box::pin(async { Ok(self.served.client(ours, connecting.await?)) })
    }
}
