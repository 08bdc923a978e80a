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
//! let game = testing::serve(Server::new(Game).idle_time(Duration::from_secs(20)));
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
use tokio::sync::oneshot;
use tracing::Instrument;

use crate::{
    Connection, Dispatcher, Hub, Refusal, Server,
    connection::{Life, Stream},
    endpoint::Endpoint,
    handshake,
    node::Seat,
    server::Site,
    wakes,
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
/// let brief = testing::serve(Server::new(Game).handle_within(Duration::from_millis(50)));
/// ```
///
/// # Panics
///
/// When [`Server::bind`] would not bind what is configured: a mistake is found here, too.
pub fn serve<D: Dispatcher>(server: impl Into<Server<D>>) -> Served<D> {
    let server = server.into();
    let mistakes = server.mistakes();
    assert!(mistakes.is_empty(), "{}", mistakes.join("; "));
    let (first, site) = server.into_parts(None).unwrap_or_else(|error| panic!("{error}"));
    Served { first, site }
}

/// A dispatcher that is served to the clients of a test: made by [`serve`]. When it is dropped every client is cut off.
#[derive(Debug)]
#[must_use = "clients are cut off when it is dropped"]
pub struct Served<D> {
    first: Arc<Endpoint<D>>,
    site: Site,
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
        let seat = handshake::seat(&self.first)?;
        Ok(begin(&self.first, session, seat, None, None).await)
    }

    /// The dispatcher, to look at what its handlers have done.
    pub fn dispatcher(&self) -> &D {
        &self.first.dispatcher
    }

    /// The server's handle: who is connected, in which rooms, and how to reach them.
    pub fn hub(&self) -> Hub {
        Hub::new(Arc::clone(&self.site.node))
    }

    /// Drains as [`Bound::serve`](crate::Bound::serve) does: new connections are refused with 503, what was read is
    /// answered, every connection is closed with 4000; returns when all are gone and `#[close]` has seen them off.
    ///
    /// Nobody has to await the clients meanwhile: what is sent to them is kept, the close frame last. Only one that
    /// has left much unread (16 KiB) is waited for, for [`Server::close_within`].
    pub async fn drain(&self) {
        self.site.node.drain().await;
    }

    /// Waits until nobody is connected, and `#[close]` has seen everyone off.
    pub async fn emptied(&self) {
        self.site.node.emptied().await;
    }
}

impl<D> Drop for Served<D> {
    fn drop(&mut self) {
        // No task outlives its test.
        self.site.node.abandon();
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
        let Served { first, site } = self.served;
        let door = site.door(request.uri().path()).unwrap_or_else(|| Arc::clone(first) as _);
        door.connect(request, self.peer)
    }
}

/// Decides on a request for a connection, and opens it.
pub(crate) async fn connect<D: Dispatcher>(
    endpoint: Arc<Endpoint<D>>,
    request: Request<()>,
    peer: Option<SocketAddr>,
) -> Result<Client, Refusal> {
    let (session, seat, subprotocol) = handshake::enter(&endpoint, request, peer).await?;
    Ok(begin(&endpoint, session, seat, peer, subprotocol).await)
}

/// Lets a connection live in a task of its own, as behind a handshake. It is greeted when this returns: a test that
/// goes on at once finds the same state on every run.
async fn begin<D: Dispatcher>(
    endpoint: &Arc<Endpoint<D>>,
    session: D::Session,
    seat: Seat,
    peer: Option<SocketAddr>,
    subprotocol: Option<&'static str>,
) -> Client {
    let (ours, theirs) = tokio::io::duplex(IN_FLIGHT);
    let connection = Connection::new(Arc::clone(&endpoint.node), session, peer, const { &D::SYNTAX });
    let span = connection.span();
    let opening = Life::open(Arc::clone(endpoint), connection, Stream::Memory(theirs), seat, Vec::new());
    let (greeted, was_greeted) = oneshot::channel();
    let life = async move {
        let life = wakes::put_off(Box::pin(opening.instrument(span))).await;
        // The test may have stopped waiting; its client is gone then, and the connection soon.
        let _ = greeted.send(());
        life.live().await;
    };
    tokio::spawn(life);
    // Fails only when the runtime ends.
    let _ = was_greeted.await;
    Client::new(ours, D::SYNTAX, endpoint.node.limits.heartbeat.asks.clone(), subprotocol)
}
