//! Counters per route: cheap enough for every message, and summed only on demand.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Threads are spread over this number of shards, so that two cores rarely share a cache line.
const SHARDS: usize = 16;

thread_local! {
    static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The counts of one route, or of messages without a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
}

/// The counters of one endpoint: one per route, and one for messages without a route.
#[derive(Debug)]
pub(crate) struct Counters {
    shards: Box<[CounterShard]>,
}

/// Aligned to 128 bytes, because x86 fetches cache lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct CounterShard(Box<[Cells]>);

#[derive(Debug, Default)]
struct Cells {
    requests: AtomicU64,
    errors: AtomicU64,
}

impl Counters {
    pub(crate) fn new(routes: usize) -> Self {
        let shard = || CounterShard((0..=routes).map(|_| Cells::default()).collect());
        Self { shards: std::iter::repeat_with(shard).take(SHARDS).collect() }
    }

    /// Counts one message; `None` is a message without a route.
    #[inline]
    pub(crate) fn record(&self, route: Option<usize>, failed: bool) {
        let cells = &self.shards[shard()].0;
        let cell = &cells[route.unwrap_or(usize::MAX).min(cells.len() - 1)];
        cell.requests.fetch_add(1, Ordering::Relaxed);
        if failed {
            cell.errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns the number of messages.
    pub(crate) fn total(&self) -> u64 {
        self.sums().iter().map(|count| count.requests).sum()
    }

    /// Returns the sums over all threads: per route in the order of the endpoint's table, then for messages without a
    /// route.
    pub(crate) fn sums(&self) -> Vec<Count> {
        let mut sums = vec![Count::default(); self.shards[0].0.len()];
        for shard in &self.shards {
            for (sum, cell) in sums.iter_mut().zip(&shard.0) {
                sum.requests += cell.requests.load(Ordering::Relaxed);
                sum.errors += cell.errors.load(Ordering::Relaxed);
            }
        }
        sums
    }
}

/// Returns the shard of this thread.
#[inline]
fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    SHARD.with(|shard| {
        if shard.get() == usize::MAX {
            shard.set(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
        }
        shard.get()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_threads_are_summed() {
        let counters = Counters::new(2);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for turn in 0..1000 {
                        counters.record(Some(0), false);
                        counters.record(Some(1), turn % 2 == 0);
                        counters.record(None, true);
                    }
                });
            }
        });
        assert_eq!(
            counters.sums(),
            [
                Count { requests: 4000, errors: 0 },
                Count { requests: 4000, errors: 2000 },
                Count { requests: 4000, errors: 4000 },
            ]
        );
    }
}
