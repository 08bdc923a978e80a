//! The rate limits of one connection: one bucket for each route with a `rate`.

use std::sync::OnceLock;

use crate::node_state::bucket::{Bucket, Sent};
use crate::node_state::clock::Clock;
use crate::protocol::Rate;
use crate::sync::Mutex;

/// The rate limits of one connection: one bucket for each route with a `rate`. Uses no memory until the first message
/// of such a route.
#[derive(Debug, Default)]
pub(crate) struct RateLimiter(OnceLock<Box<RouteRates>>);

#[derive(Debug)]
struct RouteRates {
    clock: Clock,
    /// The buckets, each with its route's index in the endpoint's table.
    buckets: Mutex<Vec<(usize, Bucket)>>,
}

impl RateLimiter {
    /// Counts one message if the rate allows it. Returns whether it does.
    pub(crate) fn allow(&self, route: usize, rate: Rate) -> bool {
        let Some(interval) = rate.period.checked_div(rate.count) else { return false };
        let new = || Box::new(RouteRates { clock: Clock::start(), buckets: Mutex::default() });
        let RouteRates { clock, buckets } = &**self.0.get_or_init(new);
        let now = clock.now();
        let mut buckets = buckets.lock();
        let at = buckets.iter().position(|(of, _)| *of == route).unwrap_or_else(|| {
            buckets.push((route, Bucket::default()));
            buckets.len() - 1
        });
        // Fits: a period is at most an hour.
        let interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        buckets[at].1.fill(interval, interval.saturating_mul(rate.burst.into()), Sent::at(now))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::protocol::Route;

    fn rate(count: u32, burst: u32) -> Rate {
        Route::new("move").rate(count, Duration::from_secs(1), burst).rate.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_the_rate() {
        let (limiter, rate) = (RateLimiter::default(), rate(10, 3));
        let taken = |limiter: &RateLimiter| (0..20).take_while(|_| limiter.allow(0, rate)).count();
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
        assert!(limiter.allow(1, rate));
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_holds_over_time() {
        let (limiter, rate) = (RateLimiter::default(), rate(30, 60));
        let mut passed = 0;
        for _ in 0..10_000 {
            passed += u32::from(limiter.allow(0, rate));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(passed, 60 + 30 * 10 - 1);
    }
}
