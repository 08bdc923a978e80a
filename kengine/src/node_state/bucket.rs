//! Rates: a limit on units per second with a burst, and the leaky bucket that enforces it.

use crate::node_state::sync::atomic::{AtomicU64, Ordering};
use crate::protocol::Rate;

const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// Intervals are stored in this fraction of a nanosecond, so that they are exact enough for bytes too.
const FRACTION_BITS: u32 = 10;

/// A limit on units per second, with the number of units that may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RateLimit {
    /// How long the bucket takes to lose one unit, in 1/1,024 ns. 0 stands for no limit.
    interval: u64,
    /// How long a full bucket takes to become empty, in nanoseconds.
    capacity: u64,
}

impl RateLimit {
    /// Creates a limit. `u32::MAX` units per second stand for no limit; other rates and bursts are at least 1.
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        let interval = match per_second {
            u32::MAX => 0,
            limited => (NANOS_PER_SECOND << FRACTION_BITS) / u64::from(limited.max(1)),
        };
        let unbounded = Self { interval, capacity: 0 };
        Self { capacity: unbounded.time_of(u64::from(burst.max(1))), ..unbounded }
    }

    /// Creates the limit of a route. `None` if it allows no message.
    pub(crate) fn of_route(Rate { count, period, burst }: Rate) -> Option<Self> {
        // In 64 bits, because this is done for each message of the route.
        let nanos = period.as_secs().saturating_mul(NANOS_PER_SECOND).saturating_add(period.subsec_nanos().into());
        let period = nanos.saturating_mul(1 << FRACTION_BITS);
        let unbounded = Self { interval: period.checked_div(count.into())?, capacity: 0 };
        (burst > 0).then(|| Self { capacity: unbounded.time_of(burst.into()), ..unbounded })
    }

    /// Returns the limit with a burst of at least this many units.
    pub(crate) fn with_burst_of_at_least(self, units: usize) -> Self {
        Self { capacity: self.capacity.max(self.time_of(units as u64)), ..self }
    }

    /// Returns how long the bucket takes to lose these units, in nanoseconds.
    #[inline]
    fn time_of(self, units: u64) -> u64 {
        self.interval.saturating_mul(units) >> FRACTION_BITS
    }
}

/// When input was sent, as far as the server knows, in nanoseconds of the node's [`Clock`](super::clock::Clock).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// The earliest time at which the input may have been sent.
    pub(crate) after: u64,
    /// The input was sent before this: the present time.
    pub(crate) before: u64,
}

impl Sent {
    /// Something that happens now.
    pub(crate) fn at(now: u64) -> Self {
        Self { after: now, before: now }
    }
}

/// A leaky bucket in the form of ITU-T I.371's generic cell rate algorithm, which stores one point in time: when the
/// bucket will be empty.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    empty_at: u64,
}

impl Bucket {
    /// Returns when the bucket will be empty.
    pub(crate) fn empty_at(self) -> u64 {
        self.empty_at
    }

    /// Whether the bucket is empty at this time.
    pub(crate) fn is_empty(self, at: u64) -> bool {
        self.empty_at <= at
    }

    /// Whether the limit allows one more unit.
    pub(crate) fn allows(mut self, limit: RateLimit, sent: Sent) -> bool {
        self.add(limit, sent)
    }

    /// Adds one unit if the limit allows it. Returns whether it does.
    #[inline]
    pub(crate) fn add(&mut self, limit: RateLimit, sent: Sent) -> bool {
        self.fill(limit.interval >> FRACTION_BITS, limit.capacity, sent)
    }

    /// Adds units that have already come, unless the bucket has overflowed. These units may make it overflow, so that a
    /// large piece passes whatever the burst is. Returns whether they were added.
    #[inline]
    pub(crate) fn add_many(&mut self, units: usize, limit: RateLimit, sent: Sent) -> bool {
        let time = limit.time_of(units as u64);
        self.fill(time, limit.capacity.saturating_add(time), sent)
    }

    /// Makes the bucket take `time` longer to become empty, if it will then be empty within `capacity`. Time during
    /// which input waited for the server counts in the client's favour, because the client may have sent it at any time
    /// since `sent.after`.
    #[inline]
    fn fill(&mut self, time: u64, capacity: u64, sent: Sent) -> bool {
        let empty_at = self.empty_at.max(sent.after).saturating_add(time);
        let fits = empty_at <= sent.before.saturating_add(capacity);
        if fits {
            self.empty_at = empty_at;
        }
        fits
    }
}

/// A [`Bucket`] that several tasks may use at once.
#[derive(Debug, Default)]
pub(crate) struct AtomicBucket {
    empty_at: AtomicU64,
}

impl AtomicBucket {
    /// Adds one unit if the limit allows it. Returns whether it does.
    #[inline]
    pub(crate) fn add(&self, limit: RateLimit, sent: Sent) -> bool {
        let added = |empty_at| {
            let mut bucket = Bucket { empty_at };
            bucket.add(limit, sent).then_some(bucket.empty_at)
        };
        self.empty_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, added).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: u64 = 1_000_000;

    /// Returns how many units a bucket takes at once.
    fn taken(bucket: &mut Bucket, limit: RateLimit, sent: Sent) -> usize {
        (0..1000).take_while(|_| bucket.add(limit, sent)).count()
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (mut bucket, limit) = (Bucket::default(), RateLimit::new(100, 200));
        assert_eq!(taken(&mut bucket, limit, Sent::at(0)), 200);
        assert_eq!(taken(&mut bucket, limit, Sent::at(10 * MILLISECOND - 1)), 0);
        assert_eq!(taken(&mut bucket, limit, Sent::at(10 * MILLISECOND)), 1);
        assert_eq!(taken(&mut bucket, limit, Sent::at(1010 * MILLISECOND)), 100);
        // After a silence of any length, only the burst passes.
        assert_eq!(taken(&mut bucket, limit, Sent::at(3_600_000 * MILLISECOND)), 200);
    }

    #[test]
    fn time_during_which_input_waited_does_not_count_against_the_client() {
        let (mut bucket, limit) = (Bucket::default(), RateLimit::new(100, 20));
        let second = 1000 * MILLISECOND;
        // The server did not read for 5 s. The client may have sent 100 messages in each.
        assert_eq!(taken(&mut bucket, limit, Sent { after: second, before: 6 * second }), 520);
        assert_eq!(taken(&mut bucket, limit, Sent { after: second, before: 7 * second }), 100);
        // The server waits for input again.
        assert_eq!(taken(&mut bucket, limit, Sent::at(60 * second)), 20);
    }

    #[test]
    fn a_large_piece_passes_once() {
        let (mut bucket, limit) = (Bucket::default(), RateLimit::new(1000, 500));
        assert!(bucket.add_many(16_384, limit, Sent::at(0)));
        assert!(!bucket.add_many(1, limit, Sent::at(15_883 * MILLISECOND)));
        assert!(bucket.add_many(1, limit, Sent::at(15_884 * MILLISECOND)));
    }

    #[test]
    fn a_burst_can_be_made_larger_but_not_smaller() {
        for (units, burst) in [(500, 500), (20, 100)] {
            let limit = RateLimit::new(1000, 100).with_burst_of_at_least(units);
            assert_eq!(taken(&mut Bucket::default(), limit, Sent::at(0)), burst);
        }
    }

    #[test]
    fn extreme_limits_hold() {
        let mut bucket = Bucket::default();
        let none = RateLimit::new(u32::MAX, 1);
        assert!((0..1000).all(|_| bucket.add(none, Sent::at(0)) && bucket.add_many(usize::MAX, none, Sent::at(0))));
        assert_eq!(taken(&mut bucket, RateLimit::new(0, 0), Sent::at(0)), 1);
        let slow = RateLimit::new(1, u32::MAX).with_burst_of_at_least(usize::MAX);
        assert_eq!(taken(&mut bucket, slow, Sent::at(u64::MAX >> 1)), 1000);
    }
}
