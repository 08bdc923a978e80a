//! Folders for what tests write.

use std::{
    fs,
    ops::Deref,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicUsize, Ordering},
    time::SystemTime,
};

/// An empty folder that one test uses, in the temporary folder. Dropping it removes the folder, unless the test
/// fails: then its files are of use.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Creates a folder.
    #[allow(clippy::new_without_default, reason = "it is not empty")]
    pub fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // Another process with the same id may have been killed before it removed its folders.
        let time = SystemTime::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_nanos();
        let path = std::env::temp_dir().join(format!("kengine-test-{}-{number}-{time}", process::id()));
        fs::create_dir(&path).expect("a temporary folder that can be written to");
        Self(path)
    }
}

impl Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for Folder {
    fn as_ref(&self) -> &Path {
        self
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // What cannot be removed is left to the system's cleanup.
            let _ = fs::remove_dir_all(self);
        }
    }
}
