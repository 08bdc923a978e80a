//! The request that opens a connection, as `#[accept]` sees it.

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
};

use hyper::{HeaderMap, Request, Uri, header::SEC_WEBSOCKET_PROTOCOL};

use crate::http::proxies::Proxies;

/// The request by which a client asks for a connection, as `#[accept]` sees it.
#[derive(Clone, Debug)]
pub struct Handshake {
    uri: Uri,
    headers: HeaderMap,
    peer: Option<SocketAddr>,
    client_ip: Option<IpAddr>,
}

impl Handshake {
    pub(crate) fn new(request: Request<()>, peer: Option<SocketAddr>, proxies: &Proxies) -> Self {
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

/// The subprotocols that are offered (RFC 6455, section 11.3.4: in one field or in several).
pub(super) fn offers(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let fields = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    fields.flat_map(|field| field.as_bytes().split(|&byte| byte == b',')).map(<[u8]>::trim_ascii)
}
