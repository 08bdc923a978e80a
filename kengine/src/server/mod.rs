//! The server: its configuration, and what it serves.

mod acceptor;
pub(crate) mod any_endpoint;
mod bound;
mod client_limits;
mod game_loop_limits;
mod http_socket;
mod listener;
mod pages;
mod pending_handshakes;
pub(crate) mod routes;
mod runtime;
mod service;
mod signals;
pub(crate) mod upgrade;

use std::{borrow::Cow, collections::HashMap, fmt, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::{Uri, header::HeaderValue};
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::{TcpListener, ToSocketAddrs};
use tokio::runtime::Handle;

use self::any_endpoint::AnyEndpoint;
use self::listener::Listener;
use self::pages::Page;
use self::routes::Routes;
use self::runtime::Runtimes;
pub use self::{bound::Bound, service::Service};
#[cfg(fuzzing)]
pub(crate) use self::{http_socket::HttpSocket, http_socket::ListenerKind, pending_handshakes::PendingHandshakes};
use crate::cluster::alone::Alone;
use crate::cluster::config::ClusterConfig;
use crate::connection::{Access, Endpoint, SessionCodec};
use crate::dispatch::Dispatcher;
use crate::http::RefusalForm;
use crate::node::Node;
use crate::node_state::{Counters, Duplicates, JoinCluster, Limits};
use crate::protocol::{StartError, Syntax};

/// The default path of the WebSocket.
const DEFAULT_PATH: &str = "/ws";

/// The longest version, in bytes.
const MAX_VERSION_LEN: usize = 64;

/// The longest timeout. A longer one could overflow the clock, and a year is as good as no limit.
const MAX_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A server for a dispatcher. It serves the WebSocket at `/ws`, and `/healthz`, `/readyz` and your pages on the same
/// port.
///
/// ```no_run
/// # struct Game;
/// # #[kengine::dispatcher]
/// # impl Game { #[route] async fn ping(&self) {} }
/// use kengine::Server;
///
/// # async fn run() -> Result<(), kengine::StartError> {
/// Server::new(Game)
///     .page("/", "text/html; charset=utf-8", "<h1>a game</h1>")
///     .origins(["https://game.example"])
///     .bind("127.0.0.1:8000")
///     .await?
///     .serve()
///     .await
/// # }
/// ```
///
/// Limits on sizes and counts are named `max_*`, limits on waits `*_timeout`. A timeout is at most a year, so
/// [`Duration::MAX`] means no limit.
#[derive(Debug)]
#[must_use = "a server does nothing until it is bound and serves"]
pub struct Server<D> {
    dispatcher: D,
    limits: Limits,
    access: Access,
    path: Cow<'static, str>,
    others: Vec<OtherEndpoint>,
    cluster: Arc<dyn JoinCluster>,
    version: String,
    pages: HashMap<Cow<'static, str>, Page>,
    /// How the sessions of the dispatcher are handed over; `None` if they are not.
    codec: Option<SessionCodec>,
    /// The address of the listener for operators.
    operator: Option<SocketAddr>,
    /// The runtime for everything, if the user has named one.
    runtime: Option<Handle>,
    /// An error message for each address of `operate` that is none.
    mistakes: Vec<String>,
}

/// An endpoint in addition to the first one. It gets its node when the configuration is complete.
struct OtherEndpoint {
    path: Cow<'static, str>,
    syntax: &'static Syntax,
    counters: Arc<Counters>,
    create: CreateEndpoint,
}

type CreateEndpoint = Box<dyn FnOnce(Arc<Node>, Arc<Access>) -> Arc<dyn AnyEndpoint> + Send + Sync>;

impl fmt::Debug for OtherEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

impl<D: Dispatcher> Server<D> {
    /// Creates a server for this dispatcher, with every limit at its default.
    pub fn new(dispatcher: D) -> Self {
        Self {
            dispatcher,
            limits: Limits::default(),
            access: Access::default(),
            path: Cow::Borrowed(DEFAULT_PATH),
            others: Vec::new(),
            cluster: Arc::new(Alone),
            version: String::new(),
            pages: HashMap::new(),
            codec: None,
            operator: None,
            runtime: None,
            mistakes: Vec::new(),
        }
    }

    /// Sets the path of the WebSocket. The default is `/ws`.
    pub fn path(mut self, path: impl Into<Cow<'static, str>>) -> Self {
        self.path = path.into();
        self
    }

    /// Adds another dispatcher at another path, with its own session type. The endpoints of a server share its limits,
    /// origins, rooms and users. A player and an admin with the same uid are one user, so the older connection is
    /// closed unless [`duplicates`](Self::duplicates) is set otherwise. Give them different uids, such as `admin:1001`.
    ///
    /// ```
    /// # struct Game;
    /// # #[kengine::dispatcher]
    /// # impl Game { #[route] async fn ping(&self) {} }
    /// # struct Admin;
    /// # #[kengine::dispatcher]
    /// # impl Admin { #[route] async fn ping(&self) {} }
    /// # use kengine::Server;
    /// let server = Server::new(Game).endpoint("/admin", Admin);
    /// # let _ = server;
    /// ```
    pub fn endpoint<O: Dispatcher>(mut self, path: impl Into<Cow<'static, str>>, dispatcher: O) -> Self {
        let counters = Arc::new(Counters::new(O::ROUTES.len()));
        let own_counters = Arc::clone(&counters);
        let create =
            Box::new(|node, access| Arc::new(Endpoint::new(dispatcher, node, own_counters, access, None)) as _);
        self.others.push(OtherEndpoint { path: path.into(), syntax: const { &O::SYNTAX }, counters, create });
        self
    }

    /// Adds a plain page, which is served to GET and HEAD. A content type that is not a valid header value is replaced
    /// by `application/octet-stream`.
    pub fn page(
        mut self,
        path: impl Into<Cow<'static, str>>,
        content_type: &'static str,
        body: impl Into<Bytes>,
    ) -> Self {
        let content_type =
            HeaderValue::from_str(content_type).unwrap_or(HeaderValue::from_static("application/octet-stream"));
        self.pages.insert(path.into(), Page::new(content_type, body.into()));
        self
    }

    /// Sets the hosts that the server answers to (`game.example`, or with one port `game.example:8443`). A request for
    /// a WebSocket that names another host is refused with 421. By default, and with `*`, every host is allowed.
    ///
    /// Set them if browsers can reach the server. Pages of the server's own host may connect, and without this list
    /// every host in `Host` counts as its own. A page of `http://evil.example` may then connect too, if its owner makes
    /// `evil.example` resolve to the server's address (DNS rebinding). A server without this list that listens on an
    /// address other than loopback logs a warning when it starts.
    ///
    /// ```
    /// # struct Game;
    /// # #[kengine::dispatcher]
    /// # impl Game { #[route] async fn ping(&self) {} }
    /// # use kengine::Server;
    /// let server = Server::new(Game).hosts(["game.example", "localhost"]);
    /// # let _ = server;
    /// ```
    ///
    /// Behind a proxy or a gateway the `Host` of the player's client counts, so the proxy must forward it unchanged;
    /// `X-Forwarded-Host` is not read. Plain pages are served for every host, because orchestrators request `/readyz`
    /// at the address of the node. A host that no client sends, for example one with a path, is an error of
    /// [`bind`](Self::bind).
    pub fn hosts(mut self, hosts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        hosts.into_iter().for_each(|host| self.access.hosts.allow(&host.into()));
        self
    }

    /// Allows pages of these origins (`https://game.example`) to connect; `*` allows all pages. Pages of the server's
    /// own [host](Self::hosts) may always connect. Clients that are not browsers send no `Origin` and may connect.
    ///
    /// An origin that no browser sends, for example one with a path, is an error of [`bind`](Self::bind).
    pub fn origins(mut self, origins: impl IntoIterator<Item = impl Into<String>>) -> Self {
        origins.into_iter().for_each(|origin| self.access.origins.allow(&origin.into()));
        self
    }

    /// Sets how a client is told that `#[accept]` or a limit has refused it. By default a page in a browser is told by
    /// a [close code](crate::Refusal::close), because it cannot read an HTTP status and would try again for ever: its
    /// request is answered with 101, and then the socket is closed. All other clients get the status.
    ///
    /// ```
    /// # struct Game;
    /// # #[kengine::dispatcher]
    /// # impl Game { #[route] async fn ping(&self) {} }
    /// # use kengine::Server;
    /// use kengine::RefusalForm;
    ///
    /// let server = Server::new(Game).tell_refusals(RefusalForm::Status);
    /// # let _ = server;
    /// ```
    ///
    /// Such a client is no connection: it has no session and no uid, it does not count to
    /// [`max_connections`](Self::max_connections), and neither `#[open]` nor `#[close]` runs. Until it has answered the
    /// close frame, for at most the [`close_timeout`](Self::close_timeout), its socket is a
    /// [pending handshake](Self::max_pending_handshakes).
    ///
    /// A request for another path or [host](Self::hosts), of a page of another [origin](Self::origins), or against RFC
    /// 6455 always gets a status, and so does one that a gateway then sends to another node.
    pub fn tell_refusals(mut self, form: RefusalForm) -> Self {
        self.access.refusal_form = form;
        self
    }

    /// Trusts these proxies, given as addresses or networks, to report in `X-Forwarded-For` which address connected to
    /// them. [`Handshake::client_ip`](crate::Handshake::client_ip) uses that report. By default no peer is trusted,
    /// since a client can write anything into that field.
    ///
    /// ```
    /// # struct Game;
    /// # #[kengine::dispatcher]
    /// # impl Game { #[route] async fn ping(&self) {} }
    /// # use kengine::Server;
    /// let server = Server::new(Game).trusted_proxies(["10.0.0.2", "10.0.1.0/24", "::1"]);
    /// # let _ = server;
    /// ```
    ///
    /// An entry that is neither an address nor a network, such as a host name, is an error of [`bind`](Self::bind). A
    /// [`Service`] does not know its peers and so trusts none.
    pub fn trusted_proxies(mut self, proxies: impl IntoIterator<Item = impl Into<String>>) -> Self {
        proxies.into_iter().for_each(|proxy| self.access.proxies.trust(&proxy.into()));
        self
    }

    /// Limits the size of a message, in bytes over all its fragments. The default is 64 KiB. A larger message closes
    /// the connection with 1009.
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.limits.max_message_size = bytes;
        self
    }

    /// Limits the number of connections. The default is 100,000, or the limit of open files minus 256 if that is
    /// smaller. Further connections are refused with 503. A connection that has ended counts until its socket is closed
    /// and `#[close]` has run.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.limits.max_connections = connections;
        self
    }

    /// Limits the number of pushes that wait in a connection's outbox. The default is 1,024. A connection that exceeds
    /// it is closed with 4002.
    pub fn max_outbox_pushes(mut self, pushes: usize) -> Self {
        self.limits.outbox.max_pushes = pushes;
        self
    }

    /// Limits the size of a connection's outbox, in bytes. The default is 256 KiB. A connection whose pushes exceed it
    /// is closed with 4002. In addition, up to 64 KiB, or all pushes of one handler, may be on their way to the socket.
    ///
    /// Answers never close a connection, because the client has asked for them. Instead, no further message is handled
    /// while answers of this size, or of 64 KiB if that is less, wait for the socket. So at most one answer exceeds it.
    pub fn max_outbox_size(mut self, bytes: usize) -> Self {
        self.limits.outbox.max_size = bytes;
        self
    }

    /// Limits the total size of all outboxes and of the answers and pushes that sockets do not take, in bytes. The
    /// default is 1 GiB. It is counted in steps of 4 KiB per connection. When it is exceeded, the connection with the
    /// largest backlog is closed with 4002. If more than 128 KiB are unsent for it, it is cut off without a close
    /// frame, because it could read one only after the rest of the frame that has begun.
    pub fn max_total_outbox_size(mut self, bytes: usize) -> Self {
        self.limits.max_total_outbox_size = bytes;
        self
    }

    /// Limits the number of rooms that one connection may be in. The default is 32. Further joins are refused.
    pub fn max_rooms_per_connection(mut self, rooms: usize) -> Self {
        self.limits.max_rooms_per_connection = rooms;
        self
    }

    /// Limits what a room [shows in lists](crate::room::Room::set_public), in bytes of JSON. The default is 1 KiB. More
    /// is refused with [`SetPublicError::TooLarge`](crate::room::SetPublicError::TooLarge).
    pub fn max_room_data_size(mut self, bytes: usize) -> Self {
        self.limits.max_room_data_size = bytes;
        self
    }

    /// Sets what happens when a uid gets a second connection. By default the older connection is closed with 4500.
    pub fn duplicates(mut self, policy: Duplicates) -> Self {
        self.limits.duplicates = policy;
        self
    }

    /// Makes this server a node of a cluster, so that rooms and users span all its nodes. By default the server
    /// has no cluster.
    ///
    /// With [`Redis`](crate::cluster::Redis), gateways find the node too. The node serves its players whether Redis can
    /// be reached or not. With [`Memory`](crate::cluster::Memory), the cluster consists of servers in one process, for
    /// tests.
    pub fn cluster(mut self, cluster: impl ClusterConfig) -> Self {
        self.cluster = cluster.into_join_cluster();
        self
    }

    /// Sets the version of your program, for [rolling updates](crate::guide::deploying#versions): while nodes of
    /// several versions are in the cluster, gateways send players to those of the newest version that have room. The
    /// newest version is that of the process that joined the cluster last, so the texts are only compared for equality.
    /// By default a node has no version, which counts as a version of its own.
    ///
    /// ```
    /// # struct Game;
    /// # #[kengine::dispatcher]
    /// # impl Game { #[route] async fn ping(&self) {} }
    /// # use kengine::Server;
    /// let server = Server::new(Game).version("2026-11-27.3");
    /// # let _ = server;
    /// ```
    ///
    /// A text of more than 64 bytes or with control characters is an error of [`bind`](Self::bind).
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }

    /// Limits each step of a handshake: sending the header of the request, `#[accept]`, and the upgrade. The default is
    /// 10 s.
    pub fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.limits.handshake_timeout = limit.min(MAX_TIMEOUT);
        self
    }

    /// Limits how long a client may be silent. The default is 60 s, the minimum 3 ms. After a third of it the client is
    /// pinged; at its end the connection is closed with 4001. Both may come later by 1/48 of it, because the clients of
    /// a node are looked at in turn.
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.limits.idle_timeout = limit.clamp(Duration::from_millis(3), MAX_TIMEOUT);
        self
    }

    /// Limits how long a handler may run. The default is 30 s. Then it is cancelled at its current await, and the
    /// request is answered with `timeout`.
    pub fn handler_timeout(mut self, limit: Duration) -> Self {
        self.limits.handler_timeout = limit.min(MAX_TIMEOUT);
        self
    }

    /// Limits how long a client may take to complete the close handshake. The default is 5 s. Then the socket is reset.
    /// Only the socket waits for this: the connection has [ended](macro@crate::close#the-end-of-a-connection) before.
    pub fn close_timeout(mut self, limit: Duration) -> Self {
        self.limits.close_timeout = limit.min(MAX_TIMEOUT);
        self
    }

    /// Limits how long the [seats](crate::room::Join::seats) of a connection that is
    /// [replaced](crate::Duplicates::Replace) are kept for its user. The default is 10 s. Then other players may take
    /// them.
    ///
    /// A kept seat counts as taken, and the other seats of the room can be taken. A newer connection of the user, to
    /// any node, takes the kept seat over when it asks for one in the same room, or for one in any room of the same
    /// prefix; from then on it is an ordinary seat. If the newer connection ends before, the seat is free at once if
    /// both were to one node. If the user is [kicked](crate::room::User::kick), it is free at once, unless the older
    /// connection was replaced while it asked for the seat and gets it just after the kick: then it is kept. This is
    /// the setting of the older one's node. 0 keeps no seats.
    pub fn seat_timeout(mut self, limit: Duration) -> Self {
        self.limits.seat_timeout = limit.min(MAX_TIMEOUT);
        self
    }

    /// Lets players resume their sessions after their connections were cut, and sets how long a session waits for its
    /// player: at most a year. Off by default.
    ///
    /// It concerns clients that offer the subprotocol `kengine.v1.resume.json`;
    /// [`guide::protocol`](crate::guide::protocol) says what such a client does. When its connection is lost, closed by
    /// it with 1001, or closed by the server after the [idle timeout](Self::idle_timeout), its session is *suspended*
    /// on this node: it keeps its uid, its rooms, its seats, its questions and its place among the
    /// [connections](Self::max_connections); a handler that runs goes on; and what is sent to it waits in its
    /// [outbox](Self::max_outbox_pushes). When the client comes back to this node in time, the session goes on as if
    /// nothing had happened: every message that either side has sent is handled once and in order.
    /// [`#[suspend]`](macro@crate::suspend) and [`#[resume]`](macro@crate::resume) are told of both.
    ///
    /// The session ends, and `#[close]` runs, if the client does not come back in time
    /// ([`DisconnectReason::NotResumed`](crate::DisconnectReason::NotResumed)), if more waits for it than its outbox
    /// holds ([`TooSlow`](crate::DisconnectReason::TooSlow)), if the user is kicked or connects anew without resuming,
    /// or if the node drains and does not [hand it over](Self::hand_over). Then, and on any other node to which it is
    /// not handed over, a client that comes back begins a new session.
    pub fn resume_within(mut self, limit: Duration) -> Self {
        self.limits.resume_within = Some(limit.min(MAX_TIMEOUT));
        self
    }

    /// Hands the sessions of the dispatcher over to the nodes to which their players come back, also when this node
    /// drains. Off by default. It needs [`resume_within`](Self::resume_within), without which it is an error of
    /// [`bind`](Self::bind), and a cluster in Redis, without which it does nothing. Every node must allow it.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use kengine::{Handshake, Refusal, Server, Session, Uid};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct Player {
    ///     id: Uid,
    ///     level: u32,
    /// }
    ///
    /// impl Session for Player {
    ///     fn uid(&self) -> Option<Uid> {
    ///         Some(self.id.clone())
    ///     }
    /// }
    ///
    /// struct Game;
    ///
    /// #[kengine::dispatcher]
    /// impl Game {
    ///     #[accept]
    ///     async fn enter(&self, handshake: &Handshake) -> Result<Player, Refusal> {
    ///         Ok(Player { id: Uid::new(handshake.query("uid").unwrap_or_default())?, level: 1 })
    ///     }
    ///
    ///     #[route]
    ///     async fn level(&self, player: &Player) -> u32 {
    ///         player.level
    ///     }
    /// }
    ///
    /// let server = Server::new(Game).resume_within(Duration::from_secs(30)).hand_over();
    /// # let _ = server;
    /// ```
    ///
    /// A node that drains answers what it has received, closes the connection with 4000, and keeps the session as it
    /// keeps one whose connection was cut, at most until the end of the [drain timeout](Self::drain_timeout). When the
    /// client comes back to another node, that one gets the session: with its uid, rooms, seats, expiry, and all
    /// messages that the client lacks. There `#[resume]` runs; neither `#[open]` nor `#[close]` does, and nobody is
    /// told that the player has left or joined. What the dispatcher itself keeps in memory for a player does not move,
    /// so keep it in the session, or in a place that all nodes reach.
    /// [`guide::deploying`](crate::guide::deploying#handing-sessions-over) says what is guaranteed.
    ///
    /// Sessions of [further endpoints](Self::endpoint) are not handed over. A session has at most 64 KiB as JSON; a
    /// larger one is not handed over, and the error is logged. It is written as it is offered and as it is given, and
    /// if the two texts differ, the session ends on the old node: so write nothing that changes by itself, such as the
    /// present time. A change that your code makes on the old node after the second time is not noticed, and is lost.
    pub fn hand_over(mut self) -> Self
    where
        D::Session: Serialize + DeserializeOwned,
    {
        self.limits.hands_over = true;
        self.codec = Some(SessionCodec::of::<D::Session>());
        self
    }

    /// Limits how long a drain may take. The default is 25 s, because most orchestrators kill a process after 30 s.
    /// Then running handlers are cancelled, and all remaining connections are cut off.
    pub fn drain_timeout(mut self, limit: Duration) -> Self {
        self.limits.drain_timeout = limit.min(MAX_TIMEOUT);
        self
    }

    /// Sets the heartbeat that a client sends and its usual answer. The defaults are `p` and `q`. A text or binary
    /// message of exactly these bytes is a heartbeat and nothing else.
    pub fn heartbeat(mut self, request: impl Into<Cow<'static, str>>, answer: impl Into<Cow<'static, str>>) -> Self {
        self.limits.heartbeat.request = request.into();
        self.limits.heartbeat.answer = answer.into();
        self
    }

    /// Serves `/healthz` and `/readyz` on a listener of their own too, for orchestrators and operators. The address is
    /// an IP address with a port, for example `127.0.0.1:9000`; port 0 is any free port
    /// ([`Bound::operator_addr`](crate::Bound::operator_addr)). By default there is no such listener.
    ///
    /// The limits on players do not apply to this listener, so a node whose other listener is flooded is still known to
    /// be alive. At most 32 sockets are served at once; then the oldest is cut off. Players must not reach it.
    ///
    /// ```
    /// # struct Game;
    /// # #[kengine::dispatcher]
    /// # impl Game { #[route] async fn ping(&self) {} }
    /// # use kengine::Server;
    /// let server = Server::new(Game).operate("127.0.0.1:9000");
    /// # let _ = server;
    /// ```
    ///
    /// Anything other than an address, such as a host name, is an error of [`bind`](Self::bind). So is an address that
    /// cannot be listened on.
    pub fn operate(mut self, address: impl Into<String>) -> Self {
        let address = address.into();
        match address.parse() {
            Ok(address) => self.operator = Some(address),
            Err(_) => self.mistakes.push(format!(
                "`{address}` is not an address for `Server::operate`; write an IP address and a port, such as \
                 `127.0.0.1:9000`"
            )),
        }
        self
    }

    /// Runs everything on this runtime of tokio: the connections, and with them the handlers and what they spawn with
    /// `tokio::spawn`.
    ///
    /// Default: if the server is bound on a runtime with one thread, everything runs on it. If that runtime has several
    /// threads, as with `#[tokio::main]`, the connections run on as many other threads, which all servers of the
    /// process share and which never end. Each of them is a runtime of its own, and each connection stays on the thread
    /// that had the fewest tasks when it came. So players never wait for a queue that threads share: see
    /// [`guide::performance`](crate::guide::performance). For your code this means:
    ///
    /// - A handler, and what it spawns with `tokio::spawn`, runs on the connection's thread. Work that computes for
    ///   more than a millisecond delays the other players of the thread, so move it to `tokio::task::spawn_blocking`.
    ///   `tokio::task::block_in_place` panics there, as on every runtime with one thread.
    /// - What your own tasks send to players, and what handlers await that other tasks provide, crosses from one thread
    ///   to another, which costs a system call. [`Hub::batch`](crate::Hub::batch) makes it one per thread for many
    ///   sends.
    /// - With several threads, the tasks of the server itself, game loops too, run on the runtime that the server is
    ///   bound on, so a handler that blocks its thread delays neither them nor players of other threads.
    ///
    /// A [service](Self::into_service) runs on the runtime of your router, and ignores this.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Listens on an address.
    ///
    /// # Errors
    ///
    /// [`StartError::Bind`] if the address cannot be resolved or listened on, [`StartError::Config`] if the
    /// configuration contains something that no request could ever match, [`StartError::Redis`] if the configuration of
    /// Redis is invalid.
    pub async fn bind(self, address: impl ToSocketAddrs + fmt::Debug) -> Result<Bound, StartError> {
        self.check()?;
        let runtimes = self.runtimes();
        let listener = Listener::bind(address, &runtimes.own).await?;
        self.listen_by(listener, runtimes)
    }

    /// Uses a listener that exists already, for example one that systemd passed to the process. Clients that connected
    /// to it before are served too. The server sets `TCP_NODELAY` on the sockets that it accepts, as it does after
    /// [`bind`](Self::bind).
    ///
    /// ```
    /// # struct Game;
    /// # #[kengine::dispatcher]
    /// # impl Game { #[route] async fn ping(&self) {} }
    /// use kengine::Server;
    /// use tokio::net::TcpListener;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let address = listener.local_addr()?;
    /// listener.set_nonblocking(true)?;
    /// let bound = Server::new(Game).bind_to(TcpListener::from_std(listener)?)?;
    /// assert_eq!(bound.local_addr(), address);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`bind`](Self::bind).
    pub fn bind_to(self, listener: TcpListener) -> Result<Bound, StartError> {
        self.check()?;
        let runtimes = self.runtimes();
        let listener = Listener::existing(listener, &runtimes.own)?;
        self.listen_by(listener, runtimes)
    }

    fn runtimes(&self) -> Runtimes {
        self.runtime.clone().map_or_else(Runtimes::beside_current, Runtimes::only)
    }

    fn listen_by(self, listener: Listener, runtimes: Runtimes) -> Result<Bound, StartError> {
        let address = listener.address();
        if self.access.trusts_every_host() && !address.ip().to_canonical().is_loopback() {
            tracing::warn!(
                %address,
                "a page of any name that resolves to this server may connect; set the server's own names with \
                 `Server::hosts`"
            );
        }
        let operator = self.operator.map(|address| Listener::bind_now(address, &runtimes.own)).transpose()?;
        let (_, routes) = self.into_parts(Some(address))?;
        Ok(Bound::new(listener, operator, routes, runtimes))
    }

    /// Returns the dispatcher as a tower service, to be mounted in your own router, which then serves paths and pages.
    /// A request for the path of [another endpoint](Self::endpoint) goes to that endpoint.
    ///
    /// # Errors
    ///
    /// Those of [`bind`](Self::bind), except [`StartError::Bind`]; and [`StartError::Config`] if
    /// [`operate`](Self::operate) was called, because a service has no listener.
    pub fn into_service(self) -> Result<Service<D>, StartError> {
        self.check()?;
        if self.operator.is_some() {
            let mistake = "a service has no listener for `Server::operate`; serve `/healthz` in your router";
            return Err(StartError::Config(mistake.to_owned()));
        }
        let (first, routes) = self.into_parts(None)?;
        Ok(Service::new(first, routes))
    }

    /// Returns the endpoint of the first dispatcher, and everything that is served. `listens` is `None` if the server
    /// does not listen itself.
    ///
    /// # Errors
    ///
    /// The configuration of the cluster is invalid.
    pub(crate) fn into_parts(self, listens: Option<SocketAddr>) -> Result<(Arc<Endpoint<D>>, Routes), StartError> {
        let mut syntaxes = vec![const { &D::SYNTAX }];
        for OtherEndpoint { syntax, .. } in &self.others {
            if !syntaxes.contains(syntax) {
                syntaxes.push(syntax);
            }
        }
        let counters = Arc::new(Counters::new(D::ROUTES.len()));
        let mut all_counters = vec![Arc::clone(&counters)];
        all_counters.extend(self.others.iter().map(|other| Arc::clone(&other.counters)));
        let node = Node::new(self.limits, syntaxes, all_counters, &*self.cluster, listens, self.version)?;
        let access = Arc::new(self.access);
        let mut endpoints: HashMap<_, _> = self
            .others
            .into_iter()
            .map(|OtherEndpoint { path, create, .. }| (path, create(Arc::clone(&node), Arc::clone(&access))))
            .collect();
        let (dispatcher, own_node) = (self.dispatcher, Arc::clone(&node));
        let own_access = Arc::clone(&access);
        let first = Arc::new(Endpoint::new(dispatcher, own_node, counters, own_access, self.codec));
        endpoints.insert(self.path, Arc::clone(&first) as _);
        Ok((first, Routes { node, access, endpoints, pages: self.pages }))
    }

    /// Checks that every configured path, host, origin and proxy can match a request, that the version is valid, and
    /// that no setting lacks another one.
    ///
    /// # Errors
    ///
    /// [`StartError::Config`] with all mistakes.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        let others = self.others.iter().map(|other| &other.path);
        let mut endpoints: Vec<_> = others.chain([&self.path]).map(|path| &**path).collect();
        endpoints.sort_unstable();
        let mut pages: Vec<_> = self.pages.keys().map(|path| &**path).collect();
        pages.sort_unstable();
        let mut mistakes: Vec<_> = pages.iter().chain(&endpoints).filter_map(|path| mistake_in_path(path)).collect();
        for path in pages.iter().filter(|path| endpoints.contains(path)) {
            mistakes.push(format!(
                "the page at `{path}` has the path of the WebSocket; move one of them, for example with `Server::path`"
            ));
        }
        for path in endpoints.windows(2).filter(|two| two[0] == two[1]).map(|two| two[0]) {
            mistakes.push(format!("two endpoints are at `{path}`; move one of them"));
        }
        if self.limits.hands_over && self.limits.resume_within.is_none() {
            mistakes.push(
                "only a session that can be resumed can be handed over; call `Server::resume_within` too, or leave out \
                 `Server::hand_over`"
                    .to_owned(),
            );
        }
        mistakes.extend_from_slice(&self.mistakes);
        mistakes.extend(mistake_in_version(&self.version));
        mistakes.extend_from_slice(self.access.hosts.mistakes());
        mistakes.extend_from_slice(self.access.origins.mistakes());
        mistakes.extend_from_slice(self.access.proxies.mistakes());
        if mistakes.is_empty() { Ok(()) } else { Err(StartError::Config(mistakes.join("; "))) }
    }
}

impl<D: Dispatcher> From<D> for Server<D> {
    /// Same as [`Server::new`].
    fn from(dispatcher: D) -> Self {
        Self::new(dispatcher)
    }
}

/// Returns what is wrong with a version.
fn mistake_in_version(version: &str) -> Option<String> {
    if version.len() > MAX_VERSION_LEN {
        Some(format!(
            "the version has {} bytes; pass at most {MAX_VERSION_LEN} bytes to `Server::version`",
            version.len()
        ))
    } else if version.contains(char::is_control) {
        Some(format!("the version {version:?} contains control characters; leave them out in `Server::version`"))
    } else {
        None
    }
}

/// Returns what is wrong with a path, if no request can have it.
fn mistake_in_path(path: &str) -> Option<String> {
    if !path.starts_with('/') {
        Some(format!("`{path}` is not a path; write `/{path}`"))
    } else if path.parse::<Uri>().is_ok_and(|uri| uri.path() == path && path.is_ascii()) {
        None
    } else {
        Some(format!(
            "no request can have the path `{path}`; leave out a query, and escape special \
             characters, such as a space as `%20`"
        ))
    }
}
