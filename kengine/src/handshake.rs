//! HTTP/1.1 → WebSocket (RFC 6455, section 4.2), or a refusal.

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Uri, Version,
    header::{
        HOST, HeaderValue, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
    },
    upgrade::OnUpgrade,
};
use tokio::time::sleep;
use tracing::Instrument;

use crate::{
    Connection, Dispatcher, Refusal,
    connection::{Life, Stream},
    contained::contained,
    endpoint::Endpoint,
    node::{Refused, Seat},
    proxies::Proxies,
    refusal::Body,
    reservation::Reservation,
    wakes,
};

/// The subprotocol that names what is spoken without one: JSON as it is.
const SUBPROTOCOL: &str = "kengine.v1.json";
/// Why a node refuses that is about to go.
const DRAINING: &str = "this node is draining";
/// The most that the header fields of a request may add up to, in bytes; then 431.
const LARGEST_HEADERS: usize = 16 * 1024;

/// Which pages may open a connection, by the `Origin` that browsers send and other clients do not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    every: bool,
    /// As [`normal`] writes them.
    allowed: Vec<String>,
    /// What was given and no browser sends, in words.
    mistakes: Vec<String>,
}

impl Origins {
    pub(crate) fn allow(&mut self, origin: &str) {
        match normal(origin) {
            _ if origin == "*" => self.every = true,
            Ok(origin) => self.allowed.push(origin),
            Err(why) => self.mistakes.push(format!("`{origin}` is no origin: {why}")),
        }
    }

    /// What was given and no browser sends: each in words.
    pub(crate) fn mistakes(&self) -> &[String] {
        &self.mistakes
    }

    /// No origin, one of this host, or one that was allowed.
    fn admit(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(ORIGIN).iter();
        let origin = match (origins.next(), origins.next()) {
            (None, _) => return true,
            (Some(origin), None) => origin.to_str(),
            // No browser sends two, and which one counts is not for us to guess.
            _ => return false,
        };
        let Ok(origin) = origin else { return false };
        self.every
            || headers
                .get(HOST)
                .and_then(|host| host.to_str().ok())
                .is_some_and(|host| same_host(origin, host))
            || normal(origin).is_ok_and(|origin| self.allowed.contains(&origin))
    }
}

/// An origin (RFC 6454, section 6.1: scheme, host, port) as browsers write it: in lower case, without the scheme's
/// default port. Or what is wrong with it.
fn normal(origin: &str) -> Result<String, &'static str> {
    // What a page sends that has none, from a file or a sandbox.
    if origin == "null" {
        return Ok(origin.to_owned());
    }
    let Some((scheme, authority)) = origin.split_once("://") else {
        return Err("write it with its scheme, as `https://game.example`");
    };
    // Copied out of a browser's bar, where it is a URL.
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if !origin.is_ascii() {
        return Err("write the host as browsers send it, in ASCII (`xn--…`)");
    }
    if authority.contains('*') {
        return Err("write each host out, or `*` alone, which allows every page");
    }
    if authority.contains(['/', '?', '#', '@']) {
        return Err("write the scheme, the host and the port alone, as `https://game.example:8443`");
    }
    // An IPv6 address has colons of its own, in brackets.
    let port = authority.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
    if origin.parse::<Uri>().is_err() || port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err("write a host, and a port if it is not the scheme's own, as `https://game.example:8443`");
    }
    let scheme = scheme.to_ascii_lowercase();
    Ok(format!("{scheme}://{}", bare(&scheme, authority)))
}

/// Whether `origin` names the authority that `Host` gives.
fn same_host(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let scheme = scheme.to_ascii_lowercase();
    default_port(&scheme).is_some() && bare(&scheme, authority) == bare(&scheme, host)
}

/// An authority in lower case, without the default port.
fn bare(scheme: &str, authority: &str) -> String {
    let port = default_port(scheme);
    port.and_then(|port| authority.strip_suffix(port)).unwrap_or(authority).to_ascii_lowercase()
}

fn default_port(scheme: &str) -> Option<&'static str> {
    match scheme {
        "http" => Some(":80"),
        "https" => Some(":443"),
        _ => None,
    }
}

/// The request by which a client asks for a connection, as `#[accept]` sees it.
#[derive(Clone, Debug)]
pub struct Handshake {
    uri: Uri,
    headers: HeaderMap,
    peer: Option<SocketAddr>,
    client_ip: Option<IpAddr>,
}

impl Handshake {
    fn new(request: Request<()>, peer: Option<SocketAddr>, proxies: &Proxies) -> Self {
        let (parts, ()) = request.into_parts();
        let client_ip = proxies.client_ip(&parts.headers, peer);
        Self { uri: parts.uri, headers: parts.headers, peer, client_ip }
    }

    /// The path, `/ws`.
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// What stands behind the `?`, as it came; `None` if there is no `?`.
    pub fn query_string(&self) -> Option<&str> {
        self.uri.query()
    }

    /// The first parameter of this name in the query, decoded (WHATWG URL, `application/x-www-form-urlencoded`):
    /// of `?uid=1001`, `query("uid")` is `1001`.
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut parameters = form_urlencoded::parse(self.uri.query().unwrap_or_default().as_bytes());
        parameters.find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The first header field of this name, in any case; `None` also if it is not visible ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// All header fields.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The subprotocols that the client offers, in its order. One of them is `kengine.v1.json` if it offers any;
    /// the others are for you, such as the token of a browser, which can set no header field.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        offers(&self.headers).filter_map(|offer| str::from_utf8(offer).ok())
    }

    /// The address at the other end of the socket, which may be a proxy's; `None` when the router in which the
    /// dispatcher is mounted does not tell.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Where the player is: the address at the other end of the socket, or, if that is one of
    /// [`Server::trusted_proxies`](crate::Server::trusted_proxies), what it wrote last into `X-Forwarded-For`. Nothing
    /// else that stands there is believed, and what is no address neither: then it is the proxy's own. An IPv4 address
    /// is given as such also where IPv6 carries it (`::ffff:10.0.0.2`). `None` where [`peer`](Self::peer) is.
    ///
    /// A connection does not keep it, so that it costs no idle player anything: put it into your session.
    ///
    /// ```
    /// use std::net::IpAddr;
    ///
    /// use kengine::{Handshake, Session};
    ///
    /// struct Player {
    ///     ip: Option<IpAddr>,
    /// }
    /// impl Session for Player {}
    ///
    /// struct Game;
    ///
    /// #[kengine::dispatcher]
    /// impl Game {
    ///     #[accept]
    ///     async fn enter(&self, handshake: &Handshake) -> Player {
    ///         Player { ip: handshake.client_ip() }
    ///     }
    ///
    ///     #[route]
    ///     async fn whereabouts(&self, player: &Player) -> String {
    ///         player.ip.map_or_else(|| "nowhere".to_owned(), |ip| ip.to_string())
    ///     }
    /// }
    /// ```
    pub fn client_ip(&self) -> Option<IpAddr> {
        self.client_ip
    }
}

/// Answers a request to open a connection: with `101`, behind which the connection lives in a task of its own, or
/// with a refusal.
pub(crate) fn upgrade<D: Dispatcher>(
    endpoint: &Arc<Endpoint<D>>,
    mut request: Request<()>,
    peer: Option<SocketAddr>,
) -> impl Future<Output = Response<Body>> + Send + use<D> {
    let admitted = admit(endpoint, &mut request);
    let handshake = Handshake::new(request, peer, &endpoint.proxies);
    let endpoint = Arc::clone(endpoint);
    async move {
        let accepted = match admitted {
            Ok(admitted) => accept(&endpoint, &handshake).await.map(|session| (admitted, session)),
            Err(refusal) => Err(refusal),
        };
        match accepted {
            Ok((Admitted { response, upgraded, seat, .. }, session)) => {
                let connection =
                    Connection::new(Arc::clone(&endpoint.node), session, peer, const { &D::SYNTAX });
                // Boxed: what the opening needs is not kept by the life that follows.
                let span = connection.span();
                let opening = Box::pin(open(endpoint, connection, upgraded, seat).instrument(span));
                let life = async move {
                    if let Some(life) = wakes::put_off(opening).await {
                        life.live().await;
                    }
                };
                // Boxed once more: a task's storage comes in steps of 128 bytes, and a pointer fits the first.
                tokio::spawn(Box::pin(life));
                response
            }
            Err(refusal) => {
                let client = handshake.client_ip();
                tracing::debug!(
                    ?peer,
                    ?client,
                    status = refusal.status(),
                    message = refusal.message(),
                    "refused"
                );
                refusal.into_response()
            }
        }
    }
}

/// What a request is answered with if `#[accept]` agrees.
struct Admitted {
    response: Response<Body>,
    subprotocol: Option<&'static str>,
    upgraded: OnUpgrade,
    seat: Seat,
}

fn admit<D>(endpoint: &Endpoint<D>, request: &mut Request<()>) -> Result<Admitted, Refusal> {
    let reservation = Reservation::of(request.headers(), &endpoint.node);
    check_size(request.headers())?;
    check_upgrade(request)?;
    if !endpoint.origins.admit(request.headers()) {
        return Err(Refusal::forbidden("this origin may not connect; `Server::origins` allows it"));
    }
    let subprotocol = choose_subprotocol(request.headers())?;
    let seat = seat(endpoint)?.reserved(reservation);
    // Taken before fastwebsockets would: its own future wraps the socket with a read buffer that is not ours.
    let upgraded = hyper::upgrade::on(&mut *request);
    let (response, _) =
        fastwebsockets::upgrade::upgrade(request).map_err(|error| Refusal::bad_request(error.to_string()))?;
    let mut response = response.map(|_| Full::default());
    if let Some(subprotocol) = subprotocol {
        let subprotocol = HeaderValue::from_static(subprotocol);
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, subprotocol);
    }
    Ok(Admitted { response, subprotocol, upgraded, seat })
}

/// A place in the node, or why there is none.
pub(crate) fn seat<D>(endpoint: &Endpoint<D>) -> Result<Seat, Refusal> {
    endpoint.node.seat().map_err(|refused| match refused {
        Refused::Full => Refusal::unavailable("this node is full"),
        Refused::Draining => Refusal::unavailable(DRAINING),
    })
}

/// Decides on a request whose transport is there already, by everything that [`upgrade`] decides by; also on the
/// subprotocol.
pub(crate) async fn enter<D: Dispatcher>(
    endpoint: &Endpoint<D>,
    mut request: Request<()>,
    peer: Option<SocketAddr>,
) -> Result<(D::Session, Seat, Option<&'static str>), Refusal> {
    let Admitted { seat, subprotocol, .. } = admit(endpoint, &mut request)?;
    let session = accept(endpoint, &Handshake::new(request, peer, &endpoint.proxies)).await?;
    Ok((session, seat, subprotocol))
}

/// Lets the dispatcher decide, within the time for a handshake.
async fn accept<D: Dispatcher>(endpoint: &Endpoint<D>, handshake: &Handshake) -> Result<D::Session, Refusal> {
    let (node, limit) = (&endpoint.node, endpoint.node.limits.handshake);
    let accepted = tokio::select! {
        accepted = contained(endpoint.dispatcher.accept(handshake)) => accepted,
        () = sleep(limit) => return Err(Refusal::unavailable("it took too long to accept this connection")),
        () = node.abandoned() => return Err(Refusal::unavailable(DRAINING)),
    };
    let session = accepted.unwrap_or_else(|panic| Err(Refusal::internal(panic)))?;
    // It may have taken its time.
    if node.is_draining() { Err(Refusal::unavailable(DRAINING)) } else { Ok(session) }
}

/// Refuses header fields that no honest client sends so many of.
pub(crate) fn check_size(headers: &HeaderMap) -> Result<(), Refusal> {
    let size: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if size <= LARGEST_HEADERS {
        return Ok(());
    }
    let message = format!("the header fields add up to {size} bytes, {LARGEST_HEADERS} are allowed");
    Err(Refusal::with_status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too_large", message))
}

/// What RFC 6455, section 4.2.1 asks of the request.
fn check_upgrade(request: &Request<()>) -> Result<(), Refusal> {
    if request.method() != Method::GET {
        return Err(Refusal::method_not_allowed("GET"));
    }
    let headers = request.headers();
    let version = headers.get(SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes);
    let asks = request.version() == Version::HTTP_11 && fastwebsockets::upgrade::is_upgrade_request(request);
    if !asks || version.is_some_and(|version| version != b"13") {
        let message = "this is a WebSocket: ask for an upgrade, version 13";
        return Err(Refusal::with_status(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message)
            .with(UPGRADE, HeaderValue::from_static("websocket"))
            .with(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")));
    }
    if version.is_none() {
        return Err(Refusal::bad_request("`Sec-WebSocket-Version` is missing; it must be 13"));
    }
    // RFC 9112, section 3.2.
    if headers.get_all(HOST).iter().count() != 1 {
        return Err(Refusal::bad_request("`Host` must be given once"));
    }
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    match (keys.next(), keys.next()) {
        (Some(key), None) if is_key(key.as_bytes()) => Ok(()),
        _ => Err(Refusal::bad_request("`Sec-WebSocket-Key` must be given once and hold 16 bytes in base64")),
    }
}

/// Sixteen bytes in base64: 22 characters and the padding.
fn is_key(key: &[u8]) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(is_base64)
}

/// The subprotocol to speak: none when none is offered. One that is not ours is refused, since a browser would drop
/// the connection after the dispatcher had already seen it.
fn choose_subprotocol(headers: &HeaderMap) -> Result<Option<&'static str>, Refusal> {
    let mut offers = offers(headers).peekable();
    if offers.peek().is_none() {
        return Ok(None);
    }
    if offers.any(|offer| offer == SUBPROTOCOL.as_bytes()) {
        return Ok(Some(SUBPROTOCOL));
    }
    let message = format!("none of the offered subprotocols is spoken here; offer `{SUBPROTOCOL}`, or none");
    Err(Refusal::bad_request(message))
}

/// The subprotocols that are offered (RFC 6455, section 11.3.4: in one field or in several).
fn offers(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let fields = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    fields.flat_map(|field| field.as_bytes().split(|&byte| byte == b',')).map(<[u8]>::trim_ascii)
}

/// Makes the connection live as soon as `101` is written.
async fn open<D: Dispatcher>(
    endpoint: Arc<Endpoint<D>>,
    connection: Connection<D::Session>,
    upgraded: OnUpgrade,
    seat: Seat,
) -> Option<Box<Life<D>>> {
    // A router may have answered otherwise after all: then it never comes.
    let upgraded = tokio::select! {
        upgraded = upgraded => upgraded.map_err(|error| error.to_string()),
        () = sleep(endpoint.node.limits.handshake) => Err("no upgrade followed".to_owned()),
        () = endpoint.node.abandoned() => Err(DRAINING.to_owned()),
    };
    match upgraded {
        Ok(upgraded) => {
            let (stream, first) = Stream::new(upgraded);
            if connection.peer().is_none() {
                // A router's: ours inherit it from the listener.
                stream.tune();
            }
            Some(Life::open(endpoint, connection, stream, seat, first).await)
        }
        Err(error) => {
            tracing::debug!(connection = %connection.id(), error, "lost during the handshake");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_of_this_host_whatever_the_case_and_the_default_port() {
        for (origin, host, same) in [
            ("http://127.0.0.1:8000", "127.0.0.1:8000", true),
            ("https://game.example", "game.example", true),
            ("https://Game.Example", "game.example:443", true),
            ("http://game.example:80", "game.example", true),
            ("HTTP://game.example", "game.example", true),
            ("http://game.example", "game.example:8080", false),
            ("http://game.example:443", "game.example", false),
            ("https://game.example.evil.example", "game.example", false),
            ("https://evil.example", "game.example", false),
            ("null", "game.example", false),
            ("file://", "", false),
            ("http://[::1]:8000", "[::1]:8000", true),
        ] {
            assert_eq!(same_host(origin, host), same, "{origin} at {host}");
        }
    }
}
