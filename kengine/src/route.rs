//! What a dispatcher says of its routes: their names, and the policy of each.

use std::time::Duration;

/// One route: its name, and what its messages may cost.
///
/// `#[route("move", rate = "30/s", burst = 60, max_size = "512B", timeout = "50ms")]` becomes
///
/// ```
/// use std::time::Duration;
///
/// const MOVE: kengine::Route = kengine::Route::new("move")
///     .rate(30, Duration::from_secs(1), 60)
///     .max_size(512)
///     .timeout(Duration::from_millis(50));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Route {
    /// What a client writes under the route key.
    pub name: &'static str,
    /// How often one connection may send it; more is answered with `rate_limited`.
    pub rate: Option<Rate>,
    /// The largest message in bytes, envelope included; a larger one is answered with `too_large`.
    pub max_size: Option<usize>,
    /// How long its handler may run, instead of [`Server::handle_within`](crate::Server::handle_within); then it is
    /// cancelled and the answer is `timeout`.
    pub timeout: Option<Duration>,
}

impl Route {
    /// A route of this name, without limits of its own.
    pub const fn new(name: &'static str) -> Self {
        Self { name, rate: None, max_size: None, timeout: None }
    }

    /// Allows each connection `count` messages in every `period`, and `burst` of them at once.
    #[must_use]
    pub const fn rate(self, count: u32, period: Duration, burst: u32) -> Self {
        Self { rate: Some(Rate { count, period, burst }), ..self }
    }

    /// Allows messages of at most so many bytes.
    #[must_use]
    pub const fn max_size(self, bytes: usize) -> Self {
        Self { max_size: Some(bytes), ..self }
    }

    /// Allows the handler so much time.
    #[must_use]
    pub const fn timeout(self, limit: Duration) -> Self {
        Self { timeout: Some(limit), ..self }
    }
}

/// How often one connection may send one route's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rate {
    /// Messages in every period; 0 allows none.
    pub count: u32,
    /// See `count`.
    pub period: Duration,
    /// Messages at once, after a silence; 0 allows none.
    pub burst: u32,
}
