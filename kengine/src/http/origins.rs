//! Which web pages may open a connection.

use hyper::{HeaderMap, Uri, header::ORIGIN};

use crate::http::host::check_authority;

/// What to write instead of an origin without a host, or with an invalid port.
const FORM: &str = "write a host, and a port if it is not the default, as `https://game.example:8443`";

/// The origins whose pages may open a connection. Browsers send `Origin`; other clients do not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    allows_all: bool,
    /// The allowed origins, [normalized](normalize).
    allowed: Vec<String>,
    /// An error message for each entry that no browser sends.
    mistakes: Vec<String>,
}

impl Origins {
    /// Allows an origin, or all origins if it is `*`.
    pub(crate) fn allow(&mut self, origin: &str) {
        match normalize(origin) {
            _ if origin == "*" => self.allows_all = true,
            Ok(origin) => self.allowed.push(origin),
            Err(why) => self.mistakes.push(format!("`{origin}` is not an origin; {why}")),
        }
    }

    /// Returns an error message for each entry that no browser sends.
    pub(crate) fn mistakes(&self) -> &[String] {
        &self.mistakes
    }

    /// Returns whether pages of all origins may connect.
    pub(crate) fn admit_all(&self) -> bool {
        self.allows_all
    }

    /// Returns whether a request for this host has no origin, the origin of the host, or an allowed one.
    pub(crate) fn admits(&self, headers: &HeaderMap, host: &str) -> bool {
        let mut origins = headers.get_all(ORIGIN).iter();
        let origin = match (origins.next(), origins.next()) {
            (None, _) => return true,
            (Some(origin), None) => origin.to_str(),
            // No browser sends two origins, and it is unclear which one counts.
            _ => return false,
        };
        let Ok(origin) = origin else { return false };
        self.allows_all
            || same_host(origin, host)
            || normalize(origin).is_ok_and(|origin| self.allowed.contains(&origin))
    }
}

/// Returns an origin (scheme, host and port: RFC 6454, section 6.1) as browsers send it: in lower case, without the
/// scheme's default port. The error says what to write instead.
fn normalize(origin: &str) -> Result<String, &'static str> {
    // Browsers send this for a page without an origin, for example from a file.
    if origin == "null" {
        return Ok(origin.to_owned());
    }
    let Some((scheme, authority)) = origin.split_once("://") else {
        return Err("write it with its scheme, as `https://game.example`");
    };
    // A URL copied from a browser's address bar ends with a slash.
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if authority.contains(['/', '?', '#', '@']) {
        return Err("write the scheme, the host and the port alone, as `https://game.example:8443`");
    }
    check_authority(authority, FORM)?;
    if origin.parse::<Uri>().is_err() {
        return Err(FORM);
    }
    let scheme = scheme.to_ascii_lowercase();
    Ok(format!("{scheme}://{}", normalize_authority(&scheme, authority)))
}

/// Returns whether an origin has this host and port.
fn same_host(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let scheme = scheme.to_ascii_lowercase();
    default_port(&scheme).is_some() && normalize_authority(&scheme, authority) == normalize_authority(&scheme, host)
}

/// Returns an authority in lower case, without the scheme's default port.
fn normalize_authority(scheme: &str, authority: &str) -> String {
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
    fn an_origin_matches_the_host_in_any_case_and_with_default_port() {
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
