//! The server: what is configured, the listener, plain pages, signals, the drain.

use std::{
    borrow::Cow, collections::HashMap, convert::Infallible, fmt, future::Future, io, net::SocketAddr,
    pin::pin, sync::Arc, time::Duration,
};

use bytes::Bytes;
use hyper::{
    Method, Request, Response, StatusCode, Uri,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream, ToSocketAddrs, lookup_host},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    Dispatcher, Error, Refusal, Result, Service,
    connection::stream,
    endpoint::Endpoint,
    handshake::{self, Origins},
    node::{Limits, Node},
    refusal::Body,
};

/// Where the WebSocket is unless the server is told otherwise.
const PATH: &str = "/ws";
/// Connections that the kernel completes before we accept them.
const BACKLOG: u32 = 4096;
/// How long a socket is served pages before it is a connection: one whose pages nobody reads shall not stay.
const PAGES_WITHIN: Duration = Duration::from_secs(60);
/// Sockets that are open besides the connections': handshakes, and pages being served.
const SPARE_SOCKETS: usize = 192;
/// The most that hyper buffers of a request before it answers 431 itself, in bytes.
const REQUEST_BUFFER: usize = 64 * 1024;
/// How long to wait before another try when no socket can be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The longest of any limit in time: what a clock can be moved by. As good as never.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A server of one dispatcher: the WebSocket at `/ws`, and on the same port `/healthz`, `/readyz` and pages of yours.
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
    path: Cow<'static, str>,
    pages: HashMap<Cow<'static, str>, Page>,
}

struct Page {
    content_type: HeaderValue,
    body: Bytes,
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {} bytes", self.content_type, self.body.len())
    }
}

impl<D: Dispatcher> Server<D> {
    /// A server of this dispatcher, with every limit at its default.
    pub fn new(dispatcher: D) -> Self {
        Self {
            dispatcher,
            limits: Limits::default(),
            origins: Origins::default(),
            path: Cow::Borrowed(PATH),
            pages: HashMap::new(),
        }
    }

    /// Where the WebSocket is: `/ws` by default.
    pub fn path(mut self, path: impl Into<Cow<'static, str>>) -> Self {
        self.path = path.into();
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
        self.pages.insert(path.into(), Page { content_type, body: body.into() });
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
    /// closed with 4002.
    pub fn outbox(mut self, pushes: usize, bytes: usize) -> Self {
        self.limits.outbox.frames = pushes;
        self.limits.outbox.bytes = bytes;
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
    /// ever find: a path that does not begin with a slash, a page where the WebSocket is, an origin that is none.
    pub async fn bind(self, address: impl ToSocketAddrs + fmt::Debug) -> Result<Bound<D>> {
        let mistakes = self.mistakes();
        if !mistakes.is_empty() {
            return Err(Error::new("bind", mistakes.join("; ")));
        }
        let shown = format!("{address:?}");
        let listener = listen(address).await.map_err(|error| {
            let hint =
                if error.kind() == io::ErrorKind::AddrInUse { "; another server listens there" } else { "" };
            Error::new("bind", format!("cannot listen on {shown}{hint}")).with_source(error)
        })?;
        let address = listener.local_addr().map_err(|error| {
            Error::new("bind", format!("cannot tell the address of {shown}")).with_source(error)
        })?;
        let site = Site { path: self.path, pages: self.pages };
        let endpoint = Endpoint::new(self.dispatcher, Node::new(self.limits), self.origins);
        Ok(Bound { listener, address, endpoint: Arc::new(endpoint), site: Arc::new(site) })
    }

    pub(crate) fn into_endpoint(self) -> Arc<Endpoint<D>> {
        Arc::new(Endpoint::new(self.dispatcher, Node::new(self.limits), self.origins))
    }

    /// What is configured and could never be found, each in words.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let mut paths: Vec<_> = self.pages.keys().chain([&self.path]).map(|path| &**path).collect();
        paths.sort_unstable();
        let mut mistakes: Vec<_> = paths.into_iter().filter_map(mistaken_path).collect();
        if self.pages.contains_key(&self.path) {
            mistakes.push(format!(
                "the page at `{0}` stands where the WebSocket is; move one of them, as `Server::path` does",
                self.path
            ));
        }
        mistakes.extend_from_slice(self.origins.mistakes());
        mistakes
    }

    /// The dispatcher as a tower service, to be mounted in a router of your own; path and pages are the router's.
    ///
    /// An [origin](Self::origins) that is none allows nobody, and is logged as an error.
    pub fn into_service(self) -> Service<D> {
        for mistake in self.origins.mistakes() {
            tracing::error!("{mistake}");
        }
        Service::new(self.into_endpoint())
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

/// Listens on the first of the addresses that works.
async fn listen(address: impl ToSocketAddrs) -> io::Result<TcpListener> {
    let mut failure = io::Error::new(io::ErrorKind::InvalidInput, "the address resolves to nothing");
    for address in lookup_host(address).await? {
        match listen_on(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    // Set once here, sockets that are accepted inherit it: two system calls less per connection.
    #[cfg(target_os = "linux")]
    stream::tune(&socket)?;
    socket.listen(BACKLOG)
}

/// A server that listens, and serves as soon as it is told to.
#[derive(Debug)]
#[must_use = "a bound server does nothing until it serves"]
pub struct Bound<D> {
    listener: TcpListener,
    address: SocketAddr,
    endpoint: Arc<Endpoint<D>>,
    site: Arc<Site>,
}

/// What is served on the port besides the WebSocket.
#[derive(Debug)]
struct Site {
    path: Cow<'static, str>,
    pages: HashMap<Cow<'static, str>, Page>,
}

impl<D: Dispatcher> Bound<D> {
    /// The address that is listened on; the port is a real one even if `0` was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until SIGTERM or SIGINT, then drains: new connections are refused with 503, what was read is answered,
    /// every connection is closed with 4000. A second signal ends it at once.
    ///
    /// # Errors
    ///
    /// `signal` when the process cannot listen for signals.
    pub async fn serve(self) -> Result<()> {
        let mut signals = Signals::new()
            .map_err(|error| Error::new("signal", "cannot listen for signals").with_source(error))?;
        let node = Arc::clone(&self.endpoint.node);
        let (first, arrived) = tokio::sync::oneshot::channel();
        let impatience = async move {
            signals.next().await;
            // The receiver is awaited for as long as this future is.
            let _ = first.send(());
            signals.next().await;
            tracing::warn!("a second signal: cut off everyone");
            node.abandon();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            served = self.serve_until(async { let _ = arrived.await; }) => served,
            () = impatience => Ok(()),
        }
    }

    /// Serves until `shutdown` is ready, then drains as [`serve`](Self::serve) does.
    ///
    /// # Errors
    ///
    /// None at present: a listener that fails for a while is tried again.
    pub async fn serve_until(self, shutdown: impl Future<Output = ()>) -> Result<()> {
        let node = Arc::clone(&self.endpoint.node);
        let _owner = Owner(Arc::clone(&node));
        tracing::info!(address = %self.address, connections = node.limits.connections, "listening");
        let drained = async {
            shutdown.await;
            tracing::info!(connections = node.connections(), "draining");
            node.drain().await;
        };
        let mut drained = pin!(drained);
        // Sockets until they are connections. They are ours to await; dropped, they end.
        let mut sockets = JoinSet::new();
        loop {
            let room = node.connections() + sockets.len() < node.limits.connections + SPARE_SOCKETS;
            tokio::select! {
                accepted = self.listener.accept(), if room => match accepted {
                    Ok((stream, peer)) => {
                        sockets.spawn(self.socket(stream, peer));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection; trying again");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = sockets.join_next() => {}
                () = sleep(ACCEPT_PAUSE), if !room => {}
                () = &mut drained => break,
            }
        }
        for (count, route) in self.endpoint.counts() {
            tracing::debug!(route, requests = count.requests, errors = count.errors, "served");
        }
        tracing::info!("drained");
        Ok(())
    }

    /// Serves HTTP on one socket until it becomes a connection or ends.
    fn socket(&self, stream: TcpStream, peer: SocketAddr) -> impl Future<Output = ()> + use<D> {
        // Where it is not inherited. A socket that cannot be set so works all the same, later.
        #[cfg(not(target_os = "linux"))]
        let _ = stream::tune(&stream);
        let (endpoint, site) = (Arc::clone(&self.endpoint), Arc::clone(&self.site));
        let handshake = endpoint.node.limits.handshake;
        let service = service_fn(move |request| {
            let answer = site.answer(&endpoint, request, peer);
            async { Ok::<_, Infallible>(answer.await) }
        });
        async move {
            // hyper buffers from the start: a socket that says nothing yet shall not cost that. Looked at, since
            // merely to be told "readable" proved wrong for half of the sockets of a crowd.
            let begun = Instant::now();
            if !matches!(timeout(handshake, stream.peek(&mut [0])).await, Ok(Ok(1))) {
                return;
            }
            let http = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(handshake.saturating_sub(begun.elapsed()))
                .max_buf_size(REQUEST_BUFFER)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            let mut http = Box::pin(http);
            let mut served = timeout(PAGES_WITHIN, http.as_mut()).await;
            if served.is_err() {
                // No page is taken any more; what was asked for last may be a handshake, which has its own time.
                http.as_mut().graceful_shutdown();
                served = timeout(handshake, http).await;
            }
            match served {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%peer, %error, "an HTTP connection failed"),
                Err(_) => tracing::debug!(%peer, "an HTTP connection took too long"),
            }
        }
    }
}

/// Cuts the players off when the future that serves them ends or is dropped: no task outlives its owner.
struct Owner(Arc<Node>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Site {
    /// A page, at once, or what becomes of a request for a connection.
    fn answer<D: Dispatcher>(
        &self,
        endpoint: &Arc<Endpoint<D>>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<Body>> + use<D> {
        let answer = if request.uri().path() == self.path {
            Err(handshake::upgrade(endpoint, request, Some(peer)))
        } else {
            Ok(self.page(&endpoint.node, &request).unwrap_or_else(Refusal::into_response))
        };
        async {
            match answer {
                Ok(page) => page,
                Err(upgrade) => upgrade.await,
            }
        }
    }

    fn page(&self, node: &Node, request: &Request<Incoming>) -> Result<Response<Body>, Refusal> {
        handshake::check_size(request.headers())?;
        let path = request.uri().path();
        let (content_type, body) = match self.pages.get(path) {
            Some(page) => (page.content_type.clone(), page.body.clone()),
            None if path == "/healthz" => (PLAIN, Bytes::from_static(b"ok\n")),
            None if path == "/readyz" && node.is_draining() => {
                return Err(Refusal::unavailable("this node is draining"));
            }
            None if path == "/readyz" => (PLAIN, Bytes::from_static(b"ready\n")),
            None => {
                let message = format!("there is nothing here; the WebSocket is at `{}`", self.path);
                return Err(Refusal::with_status(StatusCode::NOT_FOUND, "not_found", message));
            }
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Err(Refusal::method_not_allowed("GET, HEAD"));
        }
        // For HEAD hyper sends the header and leaves the body out.
        let mut response = Response::new(Body::new(body));
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        Ok(response)
    }
}

/// The content type of our own pages.
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The signals that ask a process to end.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    #[cfg(not(unix))]
    fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
