//! What is counted per route: cheap enough for every message, added up only when somebody looks.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

/// Threads spread over this many shards, so that two cores rarely touch one cache line.
const SHARDS: usize = 16;

thread_local! {
    static SHARD: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Counts of one route, or of what no route took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
}

/// The counters of one dispatcher: one per route, and one more for what no route took.
#[derive(Debug)]
pub(crate) struct Counters {
    shards: Box<[Shard]>,
}

/// 128 bytes: x86 fetches cache lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Shard(Box<[Cells]>);

#[derive(Debug, Default)]
struct Cells {
    requests: AtomicU64,
    errors: AtomicU64,
}

impl Counters {
    pub(crate) fn new(routes: usize) -> Self {
        let shard = || Shard((0..=routes).map(|_| Cells::default()).collect());
        Self { shards: std::iter::repeat_with(shard).take(SHARDS).collect() }
    }

    /// Counts one message; `None` stands for what no route took.
    pub(crate) fn record(&self, route: Option<usize>, failed: bool) {
        let cells = &self.shards[shard()].0;
        let cell = &cells[route.unwrap_or(usize::MAX).min(cells.len() - 1)];
        cell.requests.fetch_add(1, Ordering::Relaxed);
        if failed {
            cell.errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The sum over all threads: per route in the order of the table, what no route took last.
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

/// The shard of this thread.
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
    fn counts_of_all_threads_are_added_up() {
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
