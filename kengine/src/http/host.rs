//! The host that a request is for, and the hosts that a server answers to.

use std::net::Ipv6Addr;

use hyper::{Request, Version, header::HOST};

use crate::http::refusal::Refusal;

/// The hosts that a server answers to. By default it answers to every host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hosts {
    allows_all: bool,
    /// The allowed hosts, each with its port, or `None` for any port.
    allowed: Vec<(String, Option<u16>)>,
    /// An error message for each entry that no client sends.
    mistakes: Vec<String>,
}

impl Hosts {
    /// Allows a host, or all hosts if it is `*`.
    pub(crate) fn allow(&mut self, host: &str) {
        match parse(host) {
            _ if host == "*" => self.allows_all = true,
            Ok(allowed) => self.allowed.push(allowed),
            Err(why) => self.mistakes.push(format!("`{host}` is not a host; {why}")),
        }
    }

    /// Returns an error message for each entry that no client sends.
    pub(crate) fn mistakes(&self) -> &[String] {
        &self.mistakes
    }

    /// Returns whether no host was allowed, and so every host is.
    pub(crate) fn is_empty(&self) -> bool {
        !self.allows_all && self.allowed.is_empty()
    }

    /// Returns an allowed host that a request can name.
    pub(crate) fn example(&self) -> Option<String> {
        let (host, port) = self.allowed.first()?;
        Some(port.map_or_else(|| host.clone(), |port| format!("{host}:{port}")))
    }

    /// Returns whether the server answers to this host, given as [`target_host`] returns it.
    pub(crate) fn admits(&self, host: &str) -> bool {
        if self.allows_all || self.allowed.is_empty() {
            return !host.is_empty();
        }
        let Some((host, port)) = split(host) else { return false };
        // Clients leave out the default port, and behind a proxy the scheme is unknown.
        let has_port = |allowed: u16| port.map_or(matches!(allowed, 80 | 443), |port| port == allowed);
        let is_allowed =
            |(name, port): &(String, Option<u16>)| name.eq_ignore_ascii_case(host) && port.is_none_or(has_port);
        self.allowed.iter().any(is_allowed)
    }
}

/// Parses an entry: a host, and a port unless all are meant. The error says what to write instead.
fn parse(entry: &str) -> Result<(String, Option<u16>), &'static str> {
    if entry.contains("://") {
        return Err("write it without its scheme, as `game.example`");
    }
    let (host, port) = check_authority(entry, "write a host, and a port if only that one is meant, as `game.example`")?;
    // Browsers send the shortest form of an IPv6 address.
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok());
    Ok((address.map_or_else(|| host.to_owned(), |address| format!("[{address}]")), port))
}

/// Splits the authority of an entry into host and port. `form` is the error for an authority that browsers do not send.
pub(super) fn check_authority<'a>(
    authority: &'a str,
    form: &'static str,
) -> Result<(&'a str, Option<u16>), &'static str> {
    if !authority.is_ascii() {
        return Err("write the host as browsers send it, in ASCII (`xn--…`)");
    }
    if authority.contains('*') {
        return Err("write each host out, or `*` alone to allow all");
    }
    split(authority).filter(|_| !authority.ends_with(':')).ok_or(form)
}

/// Returns the host that a request is for, with its port if it is given: the host of an absolute request target or else
/// that of `Host` (RFC 9112, section 3.2.2). It is empty only if the request is not one of HTTP/1.1 and has no `Host`.
///
/// Refuses a request that RFC 9112, section 3.2, tells servers to refuse: `Host` is missing, is given twice or is not
/// `uri-host [ ":" port ]`. An empty `Host` is refused too, because it stands for a target without a host, and the
/// targets of a server have one.
pub(crate) fn target_host<B>(request: &Request<B>) -> Result<&str, Refusal> {
    let mut fields = request.headers().get_all(HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (Some(field), None) => field.to_str().ok(),
        (None, _) if request.version() != Version::HTTP_11 => return Ok(""),
        _ => return Err(Refusal::bad_request("`Host` must be given once")),
    };
    let host = field.filter(|host| split(host).is_some());
    let host =
        host.ok_or_else(|| Refusal::bad_request("`Host` must be a host, and a port if it is not the default"))?;
    match request.uri().authority() {
        None => Ok(host),
        Some(target) if split(target.as_str()).is_some() => Ok(target.as_str()),
        Some(_) => Err(Refusal::bad_request("the host of the request target is invalid")),
    }
}

/// Splits `uri-host [ ":" port ]` (RFC 9110, section 7.2) into the host and the port. An empty port is `None`. Returns
/// `None` if the text has another form or the host is empty.
pub(super) fn split(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.rsplit_once(':') {
        // The brackets of an IPv6 address contain colons too.
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (authority, ""),
    };
    let port = match port {
        "" => None,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
        _ => return None,
    };
    let is_host = match host.strip_prefix('[') {
        Some(address) => address.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => is_name(host),
    };
    is_host.then_some((host, port))
}

/// Returns whether a text is a `reg-name` (RFC 3986, section 3.2.2) that is not empty. IPv4 addresses are such names.
fn is_name(text: &str) -> bool {
    /// The ASCII characters that may be in a name, as bits.
    const ALLOWED: u128 = bits(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-._~!$&'()*+,;=%");
    let is_allowed = |byte: u8| byte.is_ascii() && ALLOWED >> byte & 1 == 1;
    let is_escape =
        |rest: &str| rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    !text.is_empty() && text.bytes().all(is_allowed) && (!text.contains('%') || text.split('%').skip(1).all(is_escape))
}

/// Returns the bits at the positions of these ASCII characters.
const fn bits(characters: &[u8]) -> u128 {
    let (mut bits, mut at) = (0, 0);
    while at < characters.len() {
        bits |= 1 << characters[at];
        at += 1;
    }
    bits
}
