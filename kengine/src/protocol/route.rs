//! A route: its name and its limits.

use std::time::Duration;

/// A route of a dispatcher: its name and its limits.
///
/// `#[route("move", rate = "30/s", burst = 60, max_size = "512B", timeout = "50ms")]` becomes:
///
/// ```
/// use std::time::Duration;
///
/// use kengine::wire::Route;
///
/// const MOVE: Route = Route::new("move")
///     .rate(30, Duration::from_secs(1), 60)
///     .max_size(512)
///     .timeout(Duration::from_millis(50));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Route {
    /// The value of the route key that selects this route.
    pub name: &'static str,
    /// How often one connection may send this message; excess messages are answered with `rate_limited`.
    pub rate: Option<Rate>,
    /// The largest message in bytes, envelope included; larger messages are answered with `too_large`.
    pub max_size: Option<usize>,
    /// How long the handler may run; `None` means [`Server::handler_timeout`](crate::Server::handler_timeout). A
    /// handler that takes longer is cancelled, and the request is answered with `timeout`.
    pub timeout: Option<Duration>,
}

impl Route {
    /// Creates a route without limits.
    pub const fn new(name: &'static str) -> Self {
        Self { name, rate: None, max_size: None, timeout: None }
    }

    /// Allows each connection `count` messages in every `period`, and `burst` of them at once.
    #[must_use]
    pub const fn rate(self, count: u32, period: Duration, burst: u32) -> Self {
        Self { rate: Some(Rate { count, period, burst }), ..self }
    }

    /// Limits the size of a message, in bytes.
    #[must_use]
    pub const fn max_size(self, bytes: usize) -> Self {
        Self { max_size: Some(bytes), ..self }
    }

    /// Limits how long the handler may run.
    #[must_use]
    pub const fn timeout(self, limit: Duration) -> Self {
        Self { timeout: Some(limit), ..self }
    }
}

/// How often one connection may send the messages of one route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rate {
    /// The number of messages per period; 0 allows none.
    pub count: u32,
    /// The period that `count` refers to.
    pub period: Duration,
    /// The number of messages that may arrive at once after a silence; 0 allows none.
    pub burst: u32,
}
