//! Which pages may open a connection.

use hyper::{
    HeaderMap, Uri,
    header::{HOST, ORIGIN},
};

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
            Err(why) => self.mistakes.push(format!("`{origin}` is not an origin; {why}")),
        }
    }

    /// What was given and no browser sends: each in words.
    pub(crate) fn mistakes(&self) -> &[String] {
        &self.mistakes
    }

    /// No origin, one of this host, or one that was allowed.
    pub(crate) fn admits(&self, headers: &HeaderMap) -> bool {
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
