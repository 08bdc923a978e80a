//! Whose word counts about where a player is: the proxies that are trusted, and what they say.

use std::net::{IpAddr, SocketAddr};

use hyper::{HeaderMap, header::HeaderName};
use ipnet::IpNet;

/// The header field to which each proxy appends the address of whoever spoke to it.
const FIELD: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies that are trusted to tell who spoke to them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies {
    trusted: Vec<IpNet>,
    /// What was given and is no address, in words.
    mistakes: Vec<String>,
}

impl Proxies {
    pub(crate) fn trust(&mut self, proxy: &str) {
        match network(proxy) {
            Ok(network) => self.trusted.push(network),
            Err(why) => self.mistakes.push(format!("`{proxy}` is not the address of a proxy; {why}")),
        }
    }

    /// What was given and is no address: each in words.
    pub(crate) fn mistakes(&self) -> &[String] {
        &self.mistakes
    }

    /// Where the player is who sent these header fields, through a proxy or not.
    pub(crate) fn client_ip(&self, headers: &HeaderMap, peer: Option<SocketAddr>) -> Option<IpAddr> {
        let peer = peer?.ip().to_canonical();
        let is_trusted = self.trusted.iter().any(|network| network.contains(&peer));
        Some(if is_trusted { forwarded(headers).unwrap_or(peer) } else { peer })
    }
}

/// What the proxy has appended: the last entry. Those before it were there already, written by anybody.
fn forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let field = headers.get_all(FIELD).iter().next_back()?.to_str().ok()?;
    let entry = field.rsplit(',').next()?.trim();
    let ip = entry.parse().or_else(|_| entry.parse().map(|address: SocketAddr| address.ip()));
    ip.ok().map(|ip: IpAddr| ip.to_canonical())
}

/// An address, or all of a network. Or what is wrong with it.
fn network(proxy: &str) -> Result<IpNet, &'static str> {
    if let Ok(ip) = proxy.parse::<IpAddr>() {
        return Ok(ip.to_canonical().into());
    }
    match proxy.parse::<IpNet>() {
        // No peer is in it: such an address is taken for the IPv4 one that it is.
        Ok(IpNet::V6(network)) if network.network().to_ipv4_mapped().is_some() => {
            Err("write a network of IPv4 as such, as `10.0.0.0/24`")
        }
        Ok(network) => Ok(network),
        Err(_) => {
            Err("names are not looked up: write an IP address or a network, as `10.0.0.2` or `10.0.0.0/24`")
        }
    }
}
