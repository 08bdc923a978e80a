//! The rate limits of one connection: one bucket for each route with a `rate`.

use std::sync::OnceLock;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::protocol::Rate;

/// The rate limits of one connection: one bucket for each route with a `rate`. Uses no memory until the first message
/// of such a route.
///
/// Each rate is a leaky bucket in the form of ITU-T I.371's generic cell rate algorithm, which stores one point in
/// time: when the bucket will be empty.
#[derive(Debug, Default)]
pub(crate) struct RateLimiter(OnceLock<Box<Mutex<Vec<Bucket>>>>);

#[derive(Debug)]
struct Bucket {
    /// The route's index in the endpoint's table.
    route: usize,
    empty_at: Instant,
}

impl RateLimiter {
    /// Counts one message if the rate allows it. Returns whether it does.
    pub(crate) fn allow(&self, route: usize, rate: Rate) -> bool {
        let now = Instant::now();
        let mut buckets = self.0.get_or_init(Box::default).lock();
        let at = buckets.iter().position(|bucket| bucket.route == route).unwrap_or_else(|| {
            buckets.push(Bucket { route, empty_at: now });
            buckets.len() - 1
        });
        let bucket = &mut buckets[at];
        let empty_at = with_one_more(rate, bucket.empty_at, now);
        bucket.empty_at = empty_at.unwrap_or(bucket.empty_at);
        empty_at.is_some()
    }
}

/// Returns when a bucket will be empty after one more, or `None` if the rate does not allow one more now.
pub(crate) fn with_one_more(rate: Rate, empty_at: Instant, now: Instant) -> Option<Instant> {
    let interval = rate.period.checked_div(rate.count)?;
    let empty_at = empty_at.max(now) + interval;
    (empty_at <= now + interval * rate.burst).then_some(empty_at)
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
