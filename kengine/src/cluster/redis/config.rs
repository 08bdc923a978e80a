//! The configuration of a cluster in Redis.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use redis::Client;

use crate::protocol::StartError;

/// The default of [`Redis::lease`].
const DEFAULT_LEASE: Duration = Duration::from_secs(6);
/// The minimum of [`Redis::lease`].
const MIN_LEASE: Duration = Duration::from_millis(300);

/// A cluster whose directory and bus are in Redis or Valkey. Pass it to [`Server::cluster`](crate::Server::cluster).
///
/// ```
/// use kengine::{Server, cluster::Redis};
/// # struct Game;
/// # #[kengine::dispatcher]
/// # impl Game { #[route] async fn ping(&self) {} }
///
/// let redis = Redis::new("redis://10.0.0.2/").advertise("10.0.0.7:8000").prefix("staging");
/// let server = Server::new(Game).cluster(redis);
/// # let _ = server;
/// ```
#[derive(Clone)]
#[must_use = "pass it to `Server::cluster`"]
pub struct Redis {
    url: String,
    advertise: Option<String>,
    pub(crate) prefix: String,
    pub(super) lease: Duration,
}

impl Redis {
    /// Creates the configuration of a cluster in the Redis at this URL: `redis://user:password@host:port/database`, or
    /// `rediss://…` for TLS (feature `tls`). TLS trusts the certificate authorities of the system, or those in the file
    /// that the environment variable `SSL_CERT_FILE` names.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), advertise: None, prefix: "kengine".to_owned(), lease: DEFAULT_LEASE }
    }

    /// Sets the address at which gateways reach this node, as `host:port`. The default is the address on which the
    /// server listens. A server that listens on all addresses (`0.0.0.0`) has no default.
    pub fn advertise(self, address: impl Into<String>) -> Self {
        Self { advertise: Some(address.into()), ..self }
    }

    /// Sets the prefix of the cluster's keys and channels, so that several clusters can share one Redis. The default is
    /// `kengine`. Two kinds of keys have no prefix, because gateways of the first version of kengine read them:
    /// `NODE_HOST_LIST`, and each node's counter, whose key is the node's address. Clusters with such gateways need
    /// separate databases.
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// Sets how long a node counts as alive after its last heartbeat. The default is 6 s, the minimum 300 ms. A node
    /// sends a heartbeat every third of the lease.
    pub fn lease(self, lease: Duration) -> Self {
        Self { lease: lease.max(MIN_LEASE), ..self }
    }

    /// Returns a client for the URL. It is not connected yet.
    ///
    /// # Errors
    ///
    /// The URL is invalid.
    pub(crate) fn client(&self) -> Result<Client, StartError> {
        #[cfg(feature = "tls")]
        // Fails if the program has already installed a provider, which works as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Client::open(&*self.url).map_err(|error| {
            let reason = if self.url.starts_with("rediss://") && !cfg!(feature = "tls") {
                "invalid Redis URL: `rediss://` (TLS) needs the feature `tls` of kengine"
            } else {
                "invalid Redis URL: write `redis://host:port/`, or `rediss://` for TLS"
            };
            StartError::Redis { reason: reason.to_owned(), source: Some(error.into()) }
        })
    }

    /// Returns the address that the node publishes in the directory.
    ///
    /// # Errors
    ///
    /// The node has no address that other machines can reach.
    pub(super) fn address(&self, listens: Option<SocketAddr>) -> Result<String, StartError> {
        let reason = match (&self.advertise, listens) {
            (Some(address), _) if is_reachable(address) => return Ok(address.clone()),
            (Some(address), _) => {
                format!("invalid advertised address `{address}`: write it as `10.0.0.7:8000`")
            }
            (None, Some(listens)) if !listens.ip().is_unspecified() => return Ok(listens.to_string()),
            (None, Some(listens)) => {
                format!("other machines cannot reach `{listens}`: set the node's address with `Redis::advertise`")
            }
            (None, None) => "a mounted server has no address: set it with `Redis::advertise`".to_owned(),
        };
        Err(StartError::redis(reason))
    }
}

/// Whether an address consists of a host, which is not a wildcard, and a port.
fn is_reachable(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let ip: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    let is_name = !host.is_empty() && host.chars().all(|char| char.is_ascii_graphic());
    is_name && !ip.is_some_and(|ip| ip.is_unspecified()) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

impl From<&str> for Redis {
    fn from(url: &str) -> Self {
        Self::new(url)
    }
}

impl From<String> for Redis {
    fn from(url: String) -> Self {
        Self::new(url)
    }
}

impl fmt::Debug for Redis {
    /// Omits the URL, which may contain a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("advertise", &self.advertise)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_what_was_set_but_not_too_short() {
        let lease = |millis| Redis::new("redis://localhost/").lease(Duration::from_millis(millis)).lease;
        assert_eq!(lease(7000), Duration::from_secs(7));
        assert_eq!(lease(299), Duration::from_millis(300));
    }
}
