//! A lock that lets only one heavy test run at a time.

use tokio::sync::{Mutex, MutexGuard};

/// Waits until no other heavy test of this process runs, and keeps the others waiting until the guard is dropped.
///
/// All tests of a binary run in the threads of one process. A test with a crowd of clients opens up to 6,000 files of
/// the 20,000 that a process may have, and keeps two cores busy; two of them at once would starve each other, and those
/// that measure time or balance would fail. Cargo runs the binaries one after another, so a lock in the process is
/// enough.
///
/// Call it first in the test, so that the guard is dropped last.
pub async fn heavy_test() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}
