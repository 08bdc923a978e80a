//! From a request to a connection: the checks, `#[accept]`, and the start of the connection's task.

use std::future::{poll_fn, ready};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, Response, StatusCode};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::connection::{
    Access, ConnectionTask, Endpoint, NewSocket, Resumability, TakeOver, Transport, close_refused, take_back, take_over,
};
use crate::dispatch::Dispatcher;
use crate::handles::Connection;
use crate::http::{
    Body, Handshake, Refusal, ReservationId, SwitchingProtocols, check_query, check_size, check_upgrade,
    choose_subprotocol, goes_to_another_node, resume_parameters, send_to_another_node, target_host,
};
use crate::node::Node;
use crate::node::admission::{Refused, Slot};
use crate::node::expiry::has_expired;
use crate::node_state::{BoxFuture, Limit, call_catching, deferring, run_catching};
use crate::protocol::resumption::{RESUME_SUBPROTOCOL, ResumeRequest};
use crate::protocol::{Session, Syntax, logged};
use crate::websocket::Close;

/// The message of a refusal by a node that drains.
const DRAINING: &str = "this node is draining";

/// What the client of an open connection needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connected {
    pub(crate) subprotocol: Option<&'static str>,
    pub(crate) syntax: &'static Syntax,
}

/// An accepted request, and what its connection needs.
struct AcceptedHandshake<S> {
    session: S,
    slot: Slot,
    subprotocol: Option<&'static str>,
    answer: SwitchingProtocols,
    returning: Returning,
}

/// Whether a client comes back to its session.
#[derive(Clone, Copy, Debug)]
enum Returning {
    /// It begins a session.
    Not(Resumability),
    /// It comes back to one that was there when the request was checked.
    To(ResumeRequest),
    /// It comes back to one that another node may have.
    From(ResumeRequest),
}

/// What was found out about a request without the dispatcher.
struct CheckedRequest {
    slot: Slot,
    subprotocol: Option<&'static str>,
    wish: ResumeWish,
}

/// Whether a client wants to resume a session.
#[derive(Clone, Copy, Debug)]
enum ResumeWish {
    /// It does not, or cannot.
    None,
    /// It does, but there is no such session.
    Unknown,
    /// It does, and another node may have the session.
    Elsewhere(ResumeRequest),
    /// It does, and this node has the session.
    Known(ResumeRequest),
}

/// A request that is refused.
struct RefusedHandshake {
    refusal: Refusal,
    /// The answer `101` if a close frame must tell the client that it is refused.
    answer: Option<SwitchingProtocols>,
}

/// The answer to a request that an HTTP library has read.
pub(crate) struct Answered {
    pub(crate) response: Response<Body>,
    /// If the response is `101` and the client is refused: closes the socket after the response. The owner of the
    /// socket polls it, and may drop it to close the socket at once.
    pub(crate) closing: Option<BoxFuture<'static, ()>>,
}

/// Runs `#[open]`, and returns what serves the connection until it ends.
pub(crate) type StartingConnection = BoxFuture<'static, BoxFuture<'static, ()>>;

/// What became of a request to open a connection on a socket that no HTTP library serves.
pub(crate) enum Opened {
    /// It is open.
    Connection(StartingConnection),
    /// It is refused. The future tells the client by a close frame, and closes the socket.
    Closing(BoxFuture<'static, ()>),
    /// It is refused, and the client has got no answer yet.
    Refused(Refusal, Transport),
    /// The client has gone.
    Gone,
}

/// Answers a request to open a connection with `101` or a refusal. After `101` the connection runs in its own task.
pub(crate) async fn upgrade<D: Dispatcher>(
    endpoint: Arc<Endpoint<D>>,
    mut request: Request<()>,
    peer: Option<SocketAddr>,
) -> Answered {
    let upgraded = hyper::upgrade::on(&mut request);
    let AcceptedHandshake { session, slot, answer, returning, .. } = match admit(&endpoint, request, peer).await {
        Ok(admitted) => admitted,
        Err(RefusedHandshake { refusal, answer: None }) => return refusal.into_response().into(),
        Err(RefusedHandshake { refusal, answer: Some(answer) }) => {
            refusal.log_source();
            let closing = close_after(upgraded, Arc::clone(&endpoint.node), refusal.close());
            return Answered { response: answer.into_response(), closing: Some(Box::pin(closing)) };
        }
    };
    let starting = Box::pin(start_after(upgraded, endpoint, session, peer, slot, returning));
    let serving = async move {
        if let Some(mut task) = starting.await {
            task.run().await;
        }
    };
    // Boxed: tokio allocates tasks in steps of 128 bytes, and a pointer fits into the first step.
    tokio::spawn(Box::pin(serving));
    answer.into_response().into()
}

/// Answers a request on a socket that no HTTP library serves with `101`. `received` is what came after the
/// request.
pub(crate) async fn open<D: Dispatcher>(
    endpoint: Arc<Endpoint<D>>,
    request: Request<()>,
    peer: SocketAddr,
    mut transport: Transport,
    received: Bytes,
) -> Opened {
    let admitted = {
        let mut admitting = pin!(admit(&endpoint, request, Some(peer)));
        let admitted = poll_fn(|cx| match admitting.as_mut().poll(cx) {
            Poll::Ready(admitted) => Poll::Ready(Some(admitted)),
            Poll::Pending => transport.poll_gone(cx).map(|()| None),
        });
        admitted.await
    };
    let AcceptedHandshake { session, slot, answer, returning, .. } = match admitted {
        Some(Ok(admitted)) => admitted,
        Some(Err(RefusedHandshake { refusal, answer: None })) => return Opened::Refused(refusal, transport),
        Some(Err(RefusedHandshake { refusal, answer: Some(answer) })) => {
            refusal.log_source();
            let (node, close) = (Arc::clone(&endpoint.node), refusal.close());
            return Opened::Closing(Box::pin(close_refused(
                transport,
                node,
                answer.to_bytes(),
                close,
                received.into(),
            )));
        }
        None => return Opened::Gone,
    };
    let sent = {
        let answer = answer.to_bytes();
        let mut sending = pin!(transport.send(&answer));
        match poll_once(sending.as_mut()).await {
            Poll::Ready(sent) => sent.is_ok(),
            Poll::Pending => {
                let sent = Box::pin(timeout(endpoint.node.limits.handshake_timeout, sending)).await;
                matches!(sent, Ok(Ok(())))
            }
        }
    };
    if !sent {
        tracing::debug!(%peer, "the connection was lost during the handshake");
        return Opened::Gone;
    }
    #[expect(clippy::async_yields_async, reason = "the task replaces its start by what it returns")]
    let start: StartingConnection = match returning {
        Returning::Not(resumability) => Box::pin(async move {
            serving(begin(endpoint, session, Some(peer), transport, slot, resumability, received.into()).await)
        }),
        returning => Box::pin(async move {
            let going_on = go_on(endpoint, session, Some(peer), transport, slot, received.into(), returning);
            going_on.await.map_or_else(|| Box::pin(ready(())) as BoxFuture<'static, ()>, serving)
        }),
    };
    Opened::Connection(start)
}

/// Returns what serves a connection until it ends. It is as small as it can be: every idle connection has one.
fn serving<D: Dispatcher>(mut task: ConnectionTask<D>) -> BoxFuture<'static, ()> {
    Box::pin(async move { task.run().await })
}

/// Opens a connection over a transport that exists already. Returns when `#[open]` has run.
pub(crate) async fn connect<D: Dispatcher>(
    endpoint: Arc<Endpoint<D>>,
    request: Request<()>,
    peer: Option<SocketAddr>,
    transport: Transport,
) -> Result<Connected, Refusal> {
    let admitted = admit(&endpoint, request, peer).await.map_err(|refused| refused.refusal)?;
    let AcceptedHandshake { session, slot, subprotocol, returning, .. } = admitted;
    start(endpoint, session, slot, peer, transport, returning).await;
    Ok(Connected { subprotocol, syntax: const { &D::SYNTAX } })
}

/// Opens a connection with this session, without a handshake, over a transport that exists already. Returns when
/// `#[open]` has run.
pub(crate) async fn connect_as<D: Dispatcher>(
    endpoint: Arc<Endpoint<D>>,
    session: D::Session,
    slot: Slot,
    transport: Transport,
) {
    start(endpoint, session, slot, None, transport, Returning::Not(Resumability::Never)).await;
}

/// Starts the task of a connection over a transport that exists already. Returns when `#[open]` has run, or when the
/// session goes on that the client resumes.
async fn start<D: Dispatcher>(
    endpoint: Arc<Endpoint<D>>,
    session: D::Session,
    slot: Slot,
    peer: Option<SocketAddr>,
    transport: Transport,
    returning: Returning,
) {
    // Boxed, so that the task does not keep the memory that only its start needs.
    let beginning = Box::pin(go_on(endpoint, session, peer, transport, slot, Vec::new(), returning));
    let (started, has_started) = oneshot::channel();
    tokio::spawn(async move {
        let begun = beginning.await;
        // The caller may have stopped waiting.
        let _ = started.send(());
        if let Some(mut task) = begun {
            task.run().await;
        }
    });
    // Fails only when the runtime shuts down.
    let _ = has_started.await;
}

/// Begins a session after the handshake. `received` is what came after the request.
async fn begin<D: Dispatcher>(
    endpoint: Arc<Endpoint<D>>,
    session: D::Session,
    peer: Option<SocketAddr>,
    transport: Transport,
    slot: Slot,
    resumability: Resumability,
    received: Vec<u8>,
) -> ConnectionTask<D> {
    let connection = Connection::new(Arc::clone(&endpoint.node), session, peer, const { &D::SYNTAX });
    let span = connection.span();
    let starting = ConnectionTask::start(endpoint, connection, transport, slot, resumability, received);
    deferring(span, pin!(starting)).await
}

/// Goes on after the handshake: with a new session, or with the session that the client resumes. Returns the task that
/// must run now. Returns `None` if there is none, because the task of the session, which runs already, has got the
/// socket, or because the socket was closed. `received` is what came after the request.
async fn go_on<D: Dispatcher>(
    endpoint: Arc<Endpoint<D>>,
    session: D::Session,
    peer: Option<SocketAddr>,
    transport: Transport,
    slot: Slot,
    received: Vec<u8>,
    returning: Returning,
) -> Option<ConnectionTask<D>> {
    let (transport, slot, received, resumability) = match returning {
        Returning::Not(resumability) => (transport, slot, received, resumability),
        Returning::From(request) => match Box::pin(take_over(&endpoint, session.uid(), request, peer)).await {
            TakeOver::Refused => (transport, slot, received, Resumability::Instead),
            TakeOver::Dropped => return None,
            TakeOver::Closed(close) => {
                close_refused(transport, Arc::clone(&endpoint.node), Vec::new(), close, received).await;
                return None;
            }
            TakeOver::Carried(carried) => {
                let going_on = ConnectionTask::go_on(endpoint, *carried, transport, slot, request.token, received);
                return Some(Box::pin(going_on).await);
            }
        },
        Returning::To(request) => {
            let moved = async {
                let socket = NewSocket::new(transport, slot, received)?;
                let refused = match &endpoint.resumables {
                    Some(resumables) => resumables.resume(request, socket).await,
                    None => Some(socket),
                };
                refused.map(NewSocket::into_parts).transpose()
            };
            match Box::pin(moved).await {
                Ok(refused) => {
                    let (transport, slot, received) = refused?;
                    (transport, slot, received, Resumability::Instead)
                }
                Err(error) => {
                    tracing::warn!(error = logged(&error), "a socket could not be moved to another thread");
                    return None;
                }
            }
        }
    };
    Some(begin(endpoint, session, peer, transport, slot, resumability, received).await)
}

impl From<Response<Body>> for Answered {
    fn from(response: Response<Body>) -> Self {
        Self { response, closing: None }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Limit(Limit::ConnectionsPerAddress) => Self::rate_limited("this address has too many connections"),
            Refused::Limit(Limit::HandshakesPerSecondPerAddress) => {
                Self::rate_limited("this address connects too often")
            }
            Refused::Limit(Limit::HandshakesPerSecond) => Self::unavailable("too many clients connect to this node"),
            Refused::Limit(_) => Self::unavailable("this node is full"),
            Refused::Draining => Self::unavailable(DRAINING),
        }
    }
}

/// Decides whether a request may become a connection.
async fn admit<D: Dispatcher>(
    endpoint: &Arc<Endpoint<D>>,
    request: Request<()>,
    peer: Option<SocketAddr>,
) -> Result<AcceptedHandshake<D::Session>, RefusedHandshake> {
    let access = &endpoint.access;
    let form = access.refusal_form;
    let checked = check(endpoint, &request, peer).map_err(|refusal| {
        // What is no handshake of a client that may connect gets a status.
        let resumes = endpoint.resumables.is_some();
        let closes_with = form.is_close(request.headers()).then(|| check_request(access, &request, resumes).ok());
        (refusal, closes_with.flatten())
    });
    let handshake = Handshake::new(request, peer, &access.proxies);
    let admitted = match checked {
        Ok(CheckedRequest { mut slot, subprotocol, wish }) => {
            let accepted = accept(endpoint, &handshake, &mut slot).await.and_then(|session| {
                let returning = returning(endpoint, &session, subprotocol, wish);
                if let Returning::Not(_) = returning {
                    slot.check()?;
                }
                Ok((session, returning))
            });
            match accepted {
                Ok((session, returning)) => {
                    let answer = SwitchingProtocols::new(handshake.headers(), subprotocol);
                    Ok(AcceptedHandshake { session, slot, subprotocol, answer, returning })
                }
                Err(refusal) => Err((refusal, form.is_close(handshake.headers()).then_some(subprotocol))),
            }
        }
        Err(refused) => Err(refused),
    };
    admitted.map_err(|(refusal, closes_with)| {
        let (status, reason) = (refusal.status(), refusal.message());
        tracing::debug!(?peer, client = ?handshake.client_ip(), status, reason, "a handshake was refused");
        let closes_with = closes_with.filter(|_| !goes_to_another_node(&refusal));
        let answer = closes_with.map(|subprotocol| {
            SwitchingProtocols::new(handshake.headers(), subprotocol).with_cookies_of(refusal.headers())
        });
        RefusedHandshake { refusal, answer }
    })
}

/// Returns whether a client comes back to its session. `#[accept]` has let it in with another one, which must have the
/// same uid, or none if that session has none.
fn returning<D: Dispatcher>(
    endpoint: &Endpoint<D>,
    session: &D::Session,
    subprotocol: Option<&'static str>,
    wish: ResumeWish,
) -> Returning {
    let Some(resumables) = endpoint.resumables.as_ref().filter(|_| subprotocol == Some(RESUME_SUBPROTOCOL)) else {
        return Returning::Not(Resumability::Never);
    };
    match wish {
        ResumeWish::None => Returning::Not(Resumability::New),
        ResumeWish::Known(request) if resumables.belongs_to(request.token, session.uid().as_ref()) => {
            Returning::To(request)
        }
        ResumeWish::Elsewhere(request) => Returning::From(request),
        ResumeWish::Unknown | ResumeWish::Known(_) => Returning::Not(Resumability::Instead),
    }
}

/// Checks everything about a request that does not need the dispatcher.
fn check<D>(
    endpoint: &Arc<Endpoint<D>>,
    request: &Request<()>,
    peer: Option<SocketAddr>,
) -> Result<CheckedRequest, Refusal> {
    let node = &endpoint.node;
    // This comes first, so that a refused request redeems its reservation too.
    let reservation = ReservationId::of(request.headers()).map(|id| node.reservation(id));
    let client = endpoint.access.proxies.client_ip(request.headers(), peer).and_then(|ip| endpoint.access.limited(ip));
    // This comes early, so that requests that are refused for another reason count too.
    node.count_request(client)?;
    let subprotocol = check_request(&endpoint.access, request, endpoint.resumables.is_some())?;
    let resumables = endpoint.resumables.as_ref().filter(|_| subprotocol == Some(RESUME_SUBPROTOCOL));
    let parameters = resumables.and_then(|resumables| Some((resumables, resume_parameters(request.uri())?)));
    let wish = parameters.map_or(ResumeWish::None, |(resumables, (token, received))| {
        match ResumeRequest::parse(&token, &received) {
            Some(request) if resumables.has(request.token) => ResumeWish::Known(request),
            Some(request) if endpoint.codec.is_some() && request.tag != node.tag => ResumeWish::Elsewhere(request),
            _ => ResumeWish::Unknown,
        }
    });
    let is_back = matches!(wish, ResumeWish::Known(_));
    let slot = node.take_slot(reservation, client, is_back).map_err(|refused| match refused {
        // Another node must not give this client address what this node refuses.
        Refused::Limit(Limit::ConnectionsPerAddress) => refused.into(),
        _ => send_to_another_node(refused.into(), request.headers()),
    })?;
    Ok(CheckedRequest { slot, subprotocol, wish })
}

/// Checks that a request is a handshake of a client that may connect. Returns the subprotocol of the connection.
fn check_request(access: &Access, request: &Request<()>, resumes: bool) -> Result<Option<&'static str>, Refusal> {
    check_size(request.headers())?;
    let host = target_host(request)?;
    check_upgrade(request)?;
    if !access.hosts.admits(host) {
        // RFC 9110, section 15.5.20.
        let message = "this server does not answer to this host; add the host to `Server::hosts`";
        return Err(Refusal::with_status(StatusCode::MISDIRECTED_REQUEST, "misdirected_request", message));
    }
    if !access.origins.admits(request.headers(), host) {
        return Err(Refusal::forbidden("pages of this origin may not connect; add the origin to `Server::origins`"));
    }
    check_query(request.uri())?;
    choose_subprotocol(request.headers(), resumes)
}

/// Polls a future once, so that one that does not wait needs neither a timer nor the memory for it.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// Lets the dispatcher decide, within the handshake timeout.
async fn accept<D: Dispatcher>(
    endpoint: &Endpoint<D>,
    handshake: &Handshake,
    slot: &mut Slot,
) -> Result<D::Session, Refusal> {
    let node = &endpoint.node;
    let draining = || send_to_another_node(Refusal::unavailable(DRAINING), handshake.headers());
    let mut accepting = pin!(run_catching(endpoint.dispatcher.accept(handshake)));
    let accepted = match poll_once(accepting.as_mut()).await {
        Poll::Ready(accepted) => accepted,
        // Boxed, because most of `#[accept]` do not wait.
        Poll::Pending => tokio::select! {
            accepted = accepting => accepted,
            () = Box::pin(sleep(node.limits.handshake_timeout)) => {
                return Err(Refusal::unavailable("it took too long to accept this connection"));
            }
            () = Box::pin(node.abandoned()) => return Err(draining()),
        },
    };
    let session = accepted.unwrap_or_else(|panic| Err(Refusal::internal(panic)))?;
    set_expiry(slot, &session)?;
    // The drain may have begun meanwhile.
    if node.is_draining() { Err(draining()) } else { Ok(session) }
}

/// Lets the node end the session when it expires.
///
/// # Errors
///
/// It has expired already.
pub(crate) fn set_expiry<S: Session>(slot: &mut Slot, session: &S) -> Result<(), Refusal> {
    let expires = call_catching(|| session.expires()).map_err(Refusal::internal)?;
    if has_expired(expires) {
        return Err(Refusal::unauthorized("session expired"));
    }
    slot.set_expiry(expires);
    Ok(())
}

/// Closes the socket of a refused client as soon as `101` is written.
async fn close_after(upgraded: OnUpgrade, node: Arc<Node>, close: Close) {
    if let Ok(upgraded) = taken_over(upgraded, &node).await {
        let (transport, received) = take_back(upgraded);
        close_refused(transport, node, Vec::new(), close, received).await;
    }
}

/// Starts the connection's task as soon as `101` is written.
async fn start_after<D: Dispatcher>(
    upgraded: OnUpgrade,
    endpoint: Arc<Endpoint<D>>,
    session: D::Session,
    peer: Option<SocketAddr>,
    slot: Slot,
    returning: Returning,
) -> Option<ConnectionTask<D>> {
    match taken_over(upgraded, &endpoint.node).await {
        Ok(upgraded) => {
            let (transport, received) = take_back(upgraded);
            if peer.is_none() {
                // A router has accepted this socket. Sockets of our own listener are already tuned.
                transport.tune();
            }
            go_on(endpoint, session, peer, transport, slot, received, returning).await
        }
        Err(reason) => {
            tracing::debug!(?peer, reason, "the connection was lost during the handshake");
            None
        }
    }
}

/// Returns the socket as soon as the HTTP library has written `101`.
///
/// # Errors
///
/// Why there is no socket.
async fn taken_over(upgraded: OnUpgrade, node: &Node) -> Result<Upgraded, String> {
    // A router may replace the answer `101` by another one, and then the upgrade never comes.
    tokio::select! {
        upgraded = upgraded => upgraded.map_err(|error| logged(&error)),
        () = sleep(node.limits.handshake_timeout) => Err("no upgrade came in time".to_owned()),
        () = node.abandoned() => Err(DRAINING.to_owned()),
    }
}
