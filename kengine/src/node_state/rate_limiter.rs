//! The rate limits of one connection: one bucket for each route with a `rate`.

use std::sync::OnceLock;

use crate::node_state::bucket::{Bucket, RateLimit, Sent};
use crate::node_state::sync::Mutex;
use crate::protocol::Rate;

/// The rate limits of one connection: one bucket for each route with a `rate`. Uses no memory until the first message
/// of such a route.
#[derive(Debug, Default)]
pub(crate) struct RateLimiter(OnceLock<Box<Mutex<Vec<RouteBucket>>>>);

#[derive(Debug)]
struct RouteBucket {
    /// The route's index in the endpoint's table.
    route: usize,
    bucket: Bucket,
}

impl RateLimiter {
    /// Counts one message if the rate allows it. Returns whether it does. `now` is the time of the node's clock.
    pub(crate) fn allow(&self, route: usize, rate: Rate, now: u64) -> bool {
        let Some(limit) = RateLimit::of_route(rate) else { return false };
        let mut buckets = self.0.get_or_init(Box::default).lock();
        let at = buckets.iter().position(|bucket| bucket.route == route).unwrap_or_else(|| {
            // Most games have few such routes, but a vector would first grow to a capacity of four.
            buckets.reserve_exact(1);
            buckets.push(RouteBucket { route, bucket: Bucket::default() });
            buckets.len() - 1
        });
        buckets[at].bucket.add(limit, Sent::at(now))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::node_state::clock::Clock;
    use crate::protocol::Route;

    fn rate(count: u32, burst: u32) -> Rate {
        Route::new("move").rate(count, Duration::from_secs(1), burst).rate.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_the_rate() {
        let (limiter, clock, rate) = (RateLimiter::default(), Clock::start(), rate(10, 3));
        let taken = |limiter: &RateLimiter| (0..20).take_while(|_| limiter.allow(0, rate, clock.now())).count();
        assert_eq!(taken(&limiter), 3);
        tokio::time::advance(Duration::from_millis(99)).await;
        assert_eq!(taken(&limiter), 0);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(taken(&limiter), 1);
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!(taken(&limiter), 2);
        // After a silence of any length, only the burst passes.
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(taken(&limiter), 3);
        // Another route has its own bucket.
        assert!(limiter.allow(1, rate, clock.now()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_holds_over_time() {
        let (limiter, clock, rate) = (RateLimiter::default(), Clock::start(), rate(30, 60));
        let mut passed = 0;
        for _ in 0..10_000 {
            passed += u32::from(limiter.allow(0, rate, clock.now()));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(passed, 60 + 30 * 10 - 1);
    }

    #[test]
    fn a_rate_of_nothing_allows_nothing() {
        assert!(!RateLimiter::default().allow(0, rate(0, 1), 1));
        assert!(!RateLimiter::default().allow(0, rate(1, 0), 1));
    }
}
