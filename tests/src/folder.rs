//! Folders for what tests write.

use std::{
    path::PathBuf,
    process,
    sync::atomic::{AtomicUsize, Ordering},
    time::SystemTime,
};

/// Returns a path in the temporary folder that this test alone uses. The folder does not exist yet.
pub fn new_folder() -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    // Another process with the same id may have been killed before it removed its folders.
    let time = SystemTime::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_nanos();
    std::env::temp_dir().join(format!("kengine-test-{}-{number}-{time}", process::id()))
}
