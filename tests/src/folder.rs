//! Folders for what tests write.

use std::{
    path::PathBuf,
    process,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Returns a path in the temporary folder that this test alone uses. The folder does not exist yet.
pub fn new_folder() -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("kengine-test-{}-{number}", process::id()))
}
