//! The host that a request is for, and the hosts that a server answers to.

use std::net::Ipv6Addr;

use hyper::{Request, Version, header::HOST};

use crate::http::refusal::Refusal;

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
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&byte);
    let is_escape =
        |rest: &str| rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    !text.is_empty() && text.bytes().all(is_allowed) && text.split('%').skip(1).all(is_escape)
}
