//! The server: what is configured, here; the listener with its drain, what is served at which path, and signals, beside.

mod bound;
mod signals;
mod site;

#[cfg(feature = "redis")]
use std::sync::Weak;
use std::{borrow::Cow, collections::HashMap, fmt, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::{Uri, header::HeaderValue};
use tokio::net::ToSocketAddrs;

pub use self::bound::Bound;
use self::site::Page;
pub(crate) use self::site::Site;
#[cfg(feature = "redis")]
use crate::Redis;
use crate::{
    Dispatcher, Duplicates, Error, Memory, Result, Service, Syntax,
    cluster::{Alone, Enter},
    endpoint::{Door, Endpoint},
    handshake::Origins,
    node::{Limits, Node},
    proxies::Proxies,
};

/// Where the WebSocket is unless the server is told otherwise.
const PATH: &str = "/ws";

/// The longest of any limit in time: what a clock can be moved by. As good as never.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A server of a dispatcher: the WebSocket at `/ws`, and on the same port `/healthz`, `/readyz` and pages of yours.
///
/// ```no_run
/// # struct Game;
/// # #[kengine::dispatcher]
/// # impl Game { #[route] async fn ping(&self) {} }
/// use kengine::Server;
///
/// # async fn run() -> kengine::Result<()> {
/// Server::new(Game)
///     .page("/", "text/html; charset=utf-8", "<h1>a game</h1>")
///     .origins(["https://game.example"])
///     .bind("127.0.0.1:8000")
///     .await?
///     .serve()
///     .await
/// # }
/// ```
/// Limits in time are at most a year, so [`Duration::MAX`] is as good as none.
#[derive(Debug)]
#[must_use = "a server does nothing until it is bound and serves"]
pub struct Server<D> {
    dispatcher: D,
    limits: Limits,
    origins: Origins,
    proxies: Proxies,
    path: Cow<'static, str>,
    others: Vec<Other>,
    cluster: Arc<dyn Enter>,
    pages: HashMap<Cow<'static, str>, Page>,
}

/// An endpoint beside the first, which gets its node when all is configured.
struct Other {
    path: Cow<'static, str>,
    syntax: &'static Syntax,
    open: Open,
}

type Open = Box<dyn FnOnce(Arc<Node>, Origins, Proxies) -> Arc<dyn Door> + Send + Sync>;

impl fmt::Debug for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

impl<D: Dispatcher> Server<D> {
    /// A server of this dispatcher, with every limit at its default.
    pub fn new(dispatcher: D) -> Self {
        Self {
            dispatcher,
            limits: Limits::default(),
            origins: Origins::default(),
            proxies: Proxies::default(),
            path: Cow::Borrowed(PATH),
            others: Vec::new(),
            cluster: Arc::new(Alone),
            pages: HashMap::new(),
        }
    }

    /// Where the WebSocket is: `/ws` by default.
    pub fn path(mut self, path: impl Into<Cow<'static, str>>) -> Self {
        self.path = path.into();
        self
    }

    /// Another dispatcher at another path, with a session of its own: of the same server, so the limits and origins, the
    /// rooms and the users are the same. A player and an admin of the same uid are one user, of whom the older
    /// connection is closed unless [`duplicates`](Self::duplicates) says otherwise: give them uids of their own, as
    /// `admin:1001`.
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
        let syntax = const { &O::SYNTAX };
        let open = Box::new(|node, origins, proxies| {
            Arc::new(Endpoint::new(dispatcher, node, origins, proxies)) as _
        });
        self.others.push(Other { path: path.into(), syntax, open });
        self
    }

    /// A plain page, answered to GET and HEAD. A content type that cannot stand in a header field is replaced by
    /// `application/octet-stream`.
    pub fn page(
        mut self,
        path: impl Into<Cow<'static, str>>,
        content_type: &'static str,
        body: impl Into<Bytes>,
    ) -> Self {
        let content_type = HeaderValue::from_str(content_type)
            .unwrap_or(HeaderValue::from_static("application/octet-stream"));
        self.pages.insert(path.into(), Page::new(content_type, body.into()));
        self
    }

    /// Pages of these origins (`https://game.example`) may connect too; `*` allows every page. Without it only those
    /// of the server's own host may, by the `Origin` that browsers send. Other clients send none, and may connect.
    ///
    /// What no browser sends, such as an origin with a path, is an error of [`bind`](Self::bind).
    pub fn origins(mut self, origins: impl IntoIterator<Item = impl Into<String>>) -> Self {
        origins.into_iter().for_each(|origin| self.origins.allow(&origin.into()));
        self
    }

    /// The proxies in front of the server, by their addresses or networks: one of them tells by `X-Forwarded-For` where a
    /// player is, who spoke to it, and [`Handshake::client_ip`](crate::Handshake::client_ip) believes it. Without it
    /// nobody is believed, since a client may write into that field what it likes.
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
    /// What is neither an address nor a network, such as a name, is an error of [`bind`](Self::bind). A [`Service`] is
    /// not told who speaks to it: it trusts nobody.
    pub fn trusted_proxies(mut self, proxies: impl IntoIterator<Item = impl Into<String>>) -> Self {
        proxies.into_iter().for_each(|proxy| self.proxies.trust(&proxy.into()));
        self
    }

    /// The largest message, in bytes over all its fragments: 64 KiB by default. A larger one closes the connection
    /// with 1009.
    pub fn largest_message(mut self, bytes: usize) -> Self {
        self.limits.message = bytes;
        self
    }

    /// The most connections at once: by default the smaller of 100,000 and the limit of open files less 256. More
    /// are refused with 503.
    pub fn connections(mut self, most: usize) -> Self {
        self.limits.connections = most;
        self
    }

    /// What may wait in a connection's outbox: 1,024 pushes and 256 KiB by default. Past either the connection is
    /// closed with 4002. Beside it, up to 64 KiB are on their way to the socket, or what one handler has pushed.
    pub fn outbox(mut self, pushes: usize, bytes: usize) -> Self {
        self.limits.outbox.frames = pushes;
        self.limits.outbox.bytes = bytes;
        self
    }

    /// What may wait in all outboxes together, in bytes: 1 GiB by default, counted in steps of 4 KiB of each connection,
    /// without what is on its way to the sockets.
    /// Past it the connection with the largest is closed with 4002.
    pub fn outboxes(mut self, bytes: usize) -> Self {
        self.limits.outboxes = bytes;
        self
    }

    /// The most rooms that one connection may be in: 32 by default. A join past it is refused.
    pub fn rooms_per_connection(mut self, most: usize) -> Self {
        self.limits.rooms = most;
        self
    }

    /// What to do about a second connection of a uid: the older one is closed with 4500 by default.
    pub fn duplicates(mut self, policy: Duplicates) -> Self {
        self.limits.duplicates = policy;
        self
    }

    /// Makes this server a node of a cluster: rooms, users and everybody are then those of all its nodes. Without it the
    /// server is alone.
    pub fn cluster(mut self, cluster: &Memory) -> Self {
        self.cluster = Arc::new(cluster.clone());
        self
    }

    /// Makes this server a node of a cluster that is kept in Redis or Valkey, at this URL or as [`Redis`] says: rooms,
    /// users and everybody are then those of all its nodes, and gateways find it. The node serves its players whether
    /// Redis can be reached or not.
    #[cfg(feature = "redis")]
    pub fn redis(mut self, redis: impl Into<Redis>) -> Self {
        self.cluster = Arc::new(redis.into());
        self
    }

    /// How long the header of a request may take: 10 s by default.
    pub fn handshake_within(mut self, limit: Duration) -> Self {
        self.limits.handshake = limit.min(LONGEST);
        self
    }

    /// How long a client may send nothing: 60 s by default, at least 3 ms. It is pinged at a third of it, and closed
    /// with 4001 at its end.
    pub fn idle_time(mut self, limit: Duration) -> Self {
        self.limits.idle = limit.clamp(Duration::from_millis(3), LONGEST);
        self
    }

    /// How long a handler may run: 30 s by default. Then it is cancelled at the await where it is, and the request
    /// answered with `timeout`.
    pub fn handle_within(mut self, limit: Duration) -> Self {
        self.limits.handler = limit.min(LONGEST);
        self
    }

    /// How long the other side has to complete a close handshake: 5 s by default. Then the socket is reset.
    pub fn close_within(mut self, limit: Duration) -> Self {
        self.limits.close = limit.min(LONGEST);
        self
    }

    /// How long a drain may take: 25 s by default, under the 30 s after which most orchestrators kill. Then handlers
    /// that still run are cancelled and their connections cut.
    pub fn drain_within(mut self, limit: Duration) -> Self {
        self.limits.drain = limit.min(LONGEST);
        self
    }

    /// The heartbeat that a client sends, `p` by default, and its usual answer, `q` by default. A text or binary
    /// message of exactly these bytes is a heartbeat and nothing else.
    pub fn heartbeat(
        mut self,
        asks: impl Into<Cow<'static, str>>,
        answers: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.limits.heartbeat.asks = asks.into();
        self.limits.heartbeat.answers = answers.into();
        self
    }

    /// Listens.
    ///
    /// # Errors
    ///
    /// `bind` when the address cannot be resolved or listened on, or something was configured that no request could
    /// ever find: a path that does not begin with a slash, a page where the WebSocket is, an origin that is none; or a
    /// proxy whose address is none.
    pub async fn bind(self, address: impl ToSocketAddrs + fmt::Debug) -> Result<Bound> {
        let mistakes = self.mistakes();
        if !mistakes.is_empty() {
            return Err(Error::new("bind", mistakes.join("; ")));
        }
        let (listener, address) = bound::listen(address).await?;
        let (_, site) = self.into_parts(Some(address))?;
        Ok(Bound::new(listener, address, site))
    }

    /// The endpoint of the first dispatcher, and all that is served; from there, if it listens itself.
    ///
    /// # Errors
    ///
    /// That of the cluster's configuration.
    pub(crate) fn into_parts(self, listens: Option<SocketAddr>) -> Result<(Arc<Endpoint<D>>, Site)> {
        let mut syntaxes = vec![const { &D::SYNTAX }];
        for Other { syntax, .. } in &self.others {
            if !syntaxes.contains(syntax) {
                syntaxes.push(syntax);
            }
        }
        let node = Node::new(self.limits, syntaxes, &*self.cluster, listens)?;
        let mut doors: HashMap<_, _> = self
            .others
            .into_iter()
            .map(|Other { path, open, .. }| {
                (path, open(Arc::clone(&node), self.origins.clone(), self.proxies.clone()))
            })
            .collect();
        let first = Arc::new(Endpoint::new(self.dispatcher, Arc::clone(&node), self.origins, self.proxies));
        doors.insert(self.path, Arc::clone(&first) as _);
        #[cfg(feature = "redis")]
        {
            // Weak: the endpoints have the node.
            let doors: Vec<_> = doors.values().map(Arc::downgrade).collect();
            let handled = move || {
                let counts =
                    doors.iter().filter_map(Weak::upgrade).flat_map(|door: Arc<dyn Door>| door.counts());
                counts.map(|(count, _)| count.requests).sum()
            };
            // Only here, and once.
            let _ = node.messages.set(Box::new(handled));
        }
        Ok((first, Site { node, doors, pages: self.pages }))
    }

    /// What is configured and could never be found, each in words.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let others = self.others.iter().map(|other| &other.path);
        let mut endpoints: Vec<_> = others.chain([&self.path]).map(|path| &**path).collect();
        endpoints.sort_unstable();
        let mut pages: Vec<_> = self.pages.keys().map(|path| &**path).collect();
        pages.sort_unstable();
        let mut mistakes: Vec<_> =
            pages.iter().chain(&endpoints).filter_map(|path| mistaken_path(path)).collect();
        for path in pages.iter().filter(|path| endpoints.contains(path)) {
            mistakes.push(format!(
                "the page at `{path}` stands where the WebSocket is; move one of them, as `Server::path` does"
            ));
        }
        for path in endpoints.windows(2).filter(|two| two[0] == two[1]).map(|two| two[0]) {
            mistakes.push(format!("two endpoints are at `{path}`; move one of them"));
        }
        mistakes.extend_from_slice(self.origins.mistakes());
        mistakes.extend_from_slice(self.proxies.mistakes());
        mistakes
    }

    /// The dispatcher as a tower service, to be mounted in a router of your own; path and pages are the router's.
    /// A request for the path of [another endpoint](Self::endpoint) goes to that one.
    ///
    /// # Errors
    ///
    /// `bind` when something was configured that no request could ever find, as for [`bind`](Self::bind).
    pub fn into_service(self) -> Result<Service<D>> {
        let mistakes = self.mistakes();
        if !mistakes.is_empty() {
            return Err(Error::new("bind", mistakes.join("; ")));
        }
        let (first, site) = self.into_parts(None)?;
        Ok(Service::new(first, site))
    }
}

impl<D: Dispatcher> From<D> for Server<D> {
    /// [`Server::new`].
    fn from(dispatcher: D) -> Self {
        Self::new(dispatcher)
    }
}

/// What is wrong with a path that no request has.
fn mistaken_path(path: &str) -> Option<String> {
    if !path.starts_with('/') {
        Some(format!("`{path}` is no path: write `/{path}`"))
    } else if path.parse::<Uri>().is_ok_and(|uri| uri.path() == path && path.is_ascii()) {
        None
    } else {
        Some(format!(
            "no request has the path `{path}`: leave a query out, and write what a URL cannot hold as `%20`"
        ))
    }
}
