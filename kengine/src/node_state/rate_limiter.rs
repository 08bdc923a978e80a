//! The rate limits of one connection: one bucket for each route with a `rate`, and one for each route whose limit the
//! client is told.

use once_cell::race::OnceBox;

use crate::node_state::bucket::{AtomicBucket, RateLimit, Sent};
use crate::protocol::Rate;

/// The rate limits of one connection: one bucket for each route with a `rate`, and one for each route whose limit the
/// client was told without an id. Uses no memory until the first message of such a route, or until the client exceeds a
/// limit.
#[derive(Debug, Default)]
pub(crate) struct RateLimiter(OnceBox<UsedBucket>);

/// A bucket, and those that were used after it for the first time. A list, because most players need one or two, and an
/// entry takes 32 bytes of memory.
#[derive(Debug)]
struct UsedBucket {
    of: BucketUse,
    bucket: AtomicBucket,
    next: OnceBox<UsedBucket>,
}

/// What a bucket counts. Routes are given by their index in the endpoint's table, in 32 bits to save memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BucketUse {
    /// The messages of a route.
    Messages(u32),
    /// How often the client is told that it exceeds the limit of a route, or of the server.
    Told(Option<u32>),
}

impl RateLimiter {
    /// Counts one message if the rate allows it. Returns whether it does. `read_at` is when the client's bytes were
    /// last read. A message that the rate does not allow then may have waited for a slow handler since, so it is
    /// compared with the time `now` too. Both are times of the node's clock.
    pub(crate) fn allow(&self, route: usize, rate: Rate, read_at: u64, now: impl FnOnce() -> u64) -> bool {
        let Some(limit) = RateLimit::of_route(rate) else { return false };
        let bucket = self.bucket(BucketUse::Messages(short(route)));
        bucket.add(limit, Sent::at(read_at)) || bucket.add(limit, Sent::at(now()))
    }

    /// Whether the client may be told now that it exceeds the limit of a route, or of the server: once a second each.
    pub(crate) fn may_tell(&self, route: Option<usize>, now: u64) -> bool {
        self.bucket(BucketUse::Told(route.map(short))).add(RateLimit::new(1, 1), Sent::at(now))
    }

    /// Returns the bucket that counts this. There are at most two for each route, and one more.
    fn bucket(&self, of: BucketUse) -> &AtomicBucket {
        let mut next = &self.0;
        loop {
            let unused = || Box::new(UsedBucket { of, bucket: AtomicBucket::default(), next: OnceBox::new() });
            let used = next.get_or_init(unused);
            if used.of == of {
                return &used.bucket;
            }
            next = &used.next;
        }
    }
}

/// Returns the index of a route in 32 bits. A table of more routes does not fit into memory.
fn short(route: usize) -> u32 {
    u32::try_from(route).unwrap_or(u32::MAX)
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
    fn a_limit_is_told_once_a_second_for_each_route() {
        const SECOND: u64 = 1_000_000_000;
        let limiter = RateLimiter::default();
        for second in [1, 2, 5] {
            for route in [None, Some(0), Some(1)] {
                let told = |at| (0..20).filter(|_| limiter.may_tell(route, at)).count();
                assert_eq!([told(second * SECOND), told((second + 1) * SECOND - 1)], [1, 0], "{route:?}");
            }
        }
        // The rate of a route is another bucket.
        assert!(limiter.allow(0, rate(1, 1), 0, || 0));
        assert_eq!(size_of::<UsedBucket>(), 24);
    }

    #[test]
    fn a_rate_of_nothing_allows_nothing() {
        assert!(!RateLimiter::default().allow(0, rate(0, 1), 1, || 1));
        assert!(!RateLimiter::default().allow(0, rate(1, 0), 1, || 1));
    }
}
