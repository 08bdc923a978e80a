//! The IP address of a client, as trusted proxies report it.

use std::net::{IpAddr, SocketAddr};

use hyper::{HeaderMap, header::HeaderName};
use ipnet::IpNet;

/// The header field to which each proxy appends the address that connected to it.
const FIELD: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies that are trusted to report which address connected to them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    trusted: Vec<IpNet>,
    /// An error message for each entry that is not an address.
    mistakes: Vec<String>,
}

impl Proxies {
    /// Trusts an address or a network.
    pub(crate) fn trust(&mut self, proxy: &str) {
        match network(proxy) {
            Ok(network) => self.trusted.push(network),
            Err(why) => self.mistakes.push(format!("`{proxy}` is not the address of a proxy; {why}")),
        }
    }

    /// Returns the trusted addresses and networks.
    #[cfg(feature = "redis")]
    pub(crate) fn networks(&self) -> &[IpNet] {
        &self.trusted
    }

    /// Returns an error message for each entry that is not an address.
    pub(crate) fn mistakes(&self) -> &[String] {
        &self.mistakes
    }

    /// Returns the IP address of the client that sent these header fields, directly or through a proxy.
    pub(crate) fn client_ip(&self, headers: &HeaderMap, peer: Option<SocketAddr>) -> Option<IpAddr> {
        let peer = peer?.ip().to_canonical();
        Some(if self.is_trusted(peer) { forwarded(headers).unwrap_or(peer) } else { peer })
    }

    /// Returns whether this address is a trusted proxy.
    pub(crate) fn is_trusted(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.trusted.iter().any(|network| network.contains(&ip))
    }
}

/// Returns the last entry, which the proxy has appended. The client may have written the earlier entries.
fn forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let field = headers.get_all(FIELD).iter().next_back()?.to_str().ok()?;
    let entry = field.rsplit(',').next()?.trim();
    let ip = entry.parse().or_else(|_| entry.parse().map(|address: SocketAddr| address.ip()));
    ip.ok().map(|ip: IpAddr| ip.to_canonical())
}

/// Parses an address or a network; the error says what to write instead.
fn network(proxy: &str) -> Result<IpNet, &'static str> {
    if let Ok(ip) = proxy.parse::<IpAddr>() {
        return Ok(ip.to_canonical().into());
    }
    match proxy.parse::<IpNet>() {
        // No peer would match this network, because peers are compared in IPv4 notation.
        Ok(IpNet::V6(network)) if network.network().to_ipv4_mapped().is_some() => {
            Err("write an IPv4 network in IPv4 notation, as `10.0.0.0/24`")
        }
        Ok(network) => Ok(network),
        Err(_) => Err("write an IP address or a network, as `10.0.0.2` or `10.0.0.0/24` (names are not looked up)"),
    }
}
