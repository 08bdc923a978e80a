//! The request that opens a connection.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use hyper::{HeaderMap, Request, Uri, header::SEC_WEBSOCKET_PROTOCOL};

use crate::http::proxies::Proxies;
use crate::http::query::parameter;

/// The HTTP request that opens a connection. `#[accept]` takes it as `&Handshake`.
#[derive(Clone)]
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

    /// Returns the path, for example `/ws`.
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// Returns the query after the `?`, not decoded, or `None` if there is no `?`.
    pub fn query_string(&self) -> Option<&str> {
        self.uri.query()
    }

    /// Returns the first query parameter with this name, decoded as `application/x-www-form-urlencoded` (WHATWG URL):
    /// `+` is a space. For `?uid=1001`, `query("uid")` returns `1001`. The case of names counts.
    ///
    /// The text is exactly what the client sent: a request whose decoded query is not UTF-8 is refused with 400.
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        parameter(self.uri.query()?, name)
    }

    /// Returns the first header field with this name, in any case. Returns `None` if its value contains anything other
    /// than visible ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns all header fields.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Returns the subprotocols that the client offers, in the client's order. If it offers any,
    /// `kengine.v1.json` is among them, or `kengine.v1.resume.json` if
    /// [`Server::resume_within`](crate::Server::resume_within) allows it. The others are free for your use, for example
    /// for a token, because a browser cannot set header fields.
    pub fn subprotocols(&self) -> impl Iterator<Item = &str> {
        offered_subprotocols(&self.headers).filter_map(|offer| str::from_utf8(offer).ok())
    }

    /// Returns the address at the other end of the socket, which may be a proxy. Returns `None` if the dispatcher is
    /// mounted in a router.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Returns the IP address of the client: that of [`peer`](Self::peer) or, if the peer is one of
    /// [`Server::trusted_proxies`](crate::Server::trusted_proxies), the last entry of `X-Forwarded-For`. Earlier
    /// entries are ignored, since the client may have written them. If the last entry is not an address, the proxy's
    /// own address is returned. An IPv4 address in IPv6 notation (`::ffff:10.0.0.2`) is returned as IPv4. Returns
    /// `None` if `peer` returns `None`.
    ///
    /// The connection does not keep the address, to save memory. Put it into your session if handlers need it:
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
    ///         player.ip.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string())
    ///     }
    /// }
    /// ```
    pub fn client_ip(&self) -> Option<IpAddr> {
        self.client_ip
    }
}

impl fmt::Debug for Handshake {
    /// Omits the query and the header fields, which may contain tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake")
            .field("path", &self.path())
            .field("peer", &self.peer)
            .field("client_ip", &self.client_ip)
            .finish_non_exhaustive()
    }
}

/// Returns the offered subprotocols, which may be in one field or in several (RFC 6455, section 11.3.4).
pub(super) fn offered_subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let fields = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    fields.flat_map(|field| field.as_bytes().split(|&byte| byte == b',')).map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_omits_tokens() {
        let request = Request::get("/ws?token=secret").header("authorization", "Bearer secret");
        let request = request.header(SEC_WEBSOCKET_PROTOCOL, "kengine.v1.json, secret").body(()).unwrap();
        let shown = format!("{:?}", Handshake::new(request, None, &Proxies::default()));
        assert!(shown.contains("\"/ws\"") && !shown.contains("secret"), "{shown}");
    }
}
