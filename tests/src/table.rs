//! Tables of cases: each row has a name, and all rows that fail are reported together.

use std::{any::Any, panic::AssertUnwindSafe, time::Duration};

use futures_util::{FutureExt, future::join_all};

/// How long anything may take before it counts as failed. No test depends on it while the server works.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Awaits something that must happen within [`LIMIT`].
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    let happened = tokio::time::timeout(LIMIT, future).await;
    happened.unwrap_or_else(|_| panic!("{what}: nothing for {LIMIT:?}"))
}

/// Checks all rows concurrently, each on its own connections. Panics with the name and the panic message of each row
/// that failed.
pub async fn every_row<R, F: Future<Output = ()>>(
    rows: impl IntoIterator<Item = (&'static str, R)>,
    check: impl Fn(R) -> F,
) {
    let checks = rows.into_iter().map(|(name, row)| {
        let checked = AssertUnwindSafe(within("the row", check(row))).catch_unwind();
        async move { checked.await.err().map(|panic| format!("  {name}: {}", words(&*panic))) }
    });
    let checked = join_all(checks).await;
    let rows = checked.len();
    let failed: Vec<_> = checked.into_iter().flatten().collect();
    assert!(rows > 0, "the table is empty");
    assert!(failed.is_empty(), "{} of {rows} rows failed:\n{}", failed.len(), failed.join("\n"));
}

/// Returns the message of a panic.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}
