//! loom's locks and atomics with the interfaces of `parking_lot`'s, std's and tokio's, and the run of a model check.

use std::cell::RefCell;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use loom::sync::RwLockReadGuard;
use loom::sync::RwLockWriteGuard;
pub(crate) use loom::sync::{MutexGuard, atomic};
use tokio::sync::futures::Notified;

/// How many preemptions one run has at most, unless `LOOM_MAX_PREEMPTIONS` is set.
const PREEMPTIONS: usize = 2;
/// How many steps one run of a check may have. Ends a loop that never ends.
const MAX_STEPS: usize = 10_000;

/// Runs `check` once for each order of its threads' steps with a bounded number of preemptions. Time stands still.
pub(crate) fn explore(name: &str, check: impl Fn() + Send + Sync + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _entered = runtime.enter();
    let mut model = loom::model::Builder::new();
    model.preemption_bound.get_or_insert(PREEMPTIONS);
    model.max_branches = MAX_STEPS;
    let runs = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&runs);
    model.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        check();
    });
    println!("{name}: {} runs, {:?} preemptions", runs.load(Ordering::Relaxed), model.preemption_bound);
}

/// A hasher without a random key, because each run of a check must take the same steps.
pub(crate) type RandomState = BuildHasherDefault<DefaultHasher>;
pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, RandomState>;
pub(crate) type HashSet<T> = std::collections::HashSet<T, RandomState>;

#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap()
    }
}

#[derive(Debug, Default)]
pub(crate) struct RwLock<T>(loom::sync::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.0.read().unwrap()
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap()
    }
}

/// tokio's `Notify`, which tokio checks itself. loom can run another thread before each call.
#[derive(Debug, Default)]
pub(crate) struct Notify {
    step: Mutex<()>,
    notify: tokio::sync::Notify,
}

impl Notify {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn notified(&self) -> Notified<'_> {
        drop(self.step.lock());
        self.notify.notified()
    }

    pub(crate) fn notify_one(&self) {
        drop(self.step.lock());
        self.notify.notify_one();
    }

    pub(crate) fn notify_waiters(&self) {
        drop(self.step.lock());
        self.notify.notify_waiters();
    }
}

/// A cell of each of loom's threads, with the methods of std's `LocalKey<RefCell<T>>`.
pub(crate) struct LocalRefCell<T: 'static>(pub(crate) &'static loom::thread::LocalKey<RefCell<T>>);

impl<T: 'static> LocalRefCell<T> {
    pub(crate) fn with_borrow_mut<R>(&'static self, change: impl FnOnce(&mut T) -> R) -> R {
        self.0.with(|cell| change(&mut cell.borrow_mut()))
    }
}

macro_rules! model_thread_local {
    ($(#[$attribute:meta])* static $name:ident: RefCell<$type:ty> = const { $value:expr };) => {
        $(#[$attribute])*
        static $name: crate::node_state::sync::model::LocalRefCell<$type> = {
            loom::thread_local! { static CELL: RefCell<$type> = $value; }
            crate::node_state::sync::model::LocalRefCell(&CELL)
        };
    };
}
pub(crate) use model_thread_local as thread_local;
