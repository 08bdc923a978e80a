//! The rate limits of one connection: one bucket for each route with a `rate`.

use crate::node_state::bucket::{Bucket, RateLimit, Sent};
use crate::node_state::sync::Mutex;
use crate::protocol::Rate;

/// The rate limits of one connection: one bucket for each route with a `rate`. Uses no memory until the first message
/// of such a route.
#[derive(Debug, Default)]
pub(crate) struct RateLimiter(Mutex<Option<Box<RouteBucket>>>);

/// The bucket of a route, and those of the routes whose first message came earlier. A list, because most players use one
/// or two such routes, and an entry takes 32 bytes of memory.
#[derive(Debug)]
struct RouteBucket {
    /// The route's index in the endpoint's table.
    route: usize,
    bucket: Bucket,
    next: Option<Box<RouteBucket>>,
}

impl RateLimiter {
    /// Counts one message if the rate allows it. Returns whether it does. `read_at` is when the client's bytes were last
    /// read. A message that the rate does not allow then may have waited for a slow handler since, so it is compared with
    /// the time `now` too. Both are times of the node's clock.
    pub(crate) fn allow(&self, route: usize, rate: Rate, read_at: u64, now: impl FnOnce() -> u64) -> bool {
        let Some(limit) = RateLimit::of_route(rate) else { return false };
        let add = |bucket: &mut Bucket| bucket.add(limit, Sent::at(read_at)) || bucket.add(limit, Sent::at(now()));
        let mut latest = self.0.lock();
        let mut next = latest.as_deref_mut();
        while let Some(entry) = next {
            if entry.route == route {
                return add(&mut entry.bucket);
            }
            next = entry.next.as_deref_mut();
        }
        let next = latest.take();
        add(&mut latest.insert(Box::new(RouteBucket { route, bucket: Bucket::default(), next })).bucket)
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
        let taken =
            |limiter: &RateLimiter| (0..20).take_while(|_| limiter.allow(0, rate, clock.now(), || clock.now())).count();
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
        assert!(limiter.allow(1, rate, clock.now(), || clock.now()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_holds_over_time() {
        let (limiter, clock, rate) = (RateLimiter::default(), Clock::start(), rate(30, 60));
        let mut passed = 0;
        for _ in 0..10_000 {
            passed += u32::from(limiter.allow(0, rate, clock.now(), || clock.now()));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(passed, 60 + 30 * 10 - 1);
    }

    #[test]
    fn a_rate_of_nothing_allows_nothing() {
        assert!(!RateLimiter::default().allow(0, rate(0, 1), 1, || 1));
        assert!(!RateLimiter::default().allow(0, rate(1, 0), 1, || 1));
    }
}
