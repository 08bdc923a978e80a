//! Programs that tests need and a machine may lack.

use std::{
    collections::HashSet,
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

/// Sees that a program is there, by asking for its version, and installs its packages where it is not and they can be.
///
/// # Panics
///
/// When it cannot be had: with what to install.
pub(crate) fn install(program: &'static str, version: &str, packages: &str) {
    static FOUND: Mutex<Option<HashSet<&str>>> = Mutex::new(None);
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if !found.get_or_insert_default().insert(program) {
        return;
    }
    let is_there = || {
        let asked = Command::new(program).arg(version).stdout(Stdio::null()).stderr(Stdio::null()).status();
        asked.is_ok()
    };
    if !is_there() {
        let install = format!("apt-get update -qq && apt-get install -y -qq {packages}");
        let _ = Command::new("sh").args(["-c", &install]).stdout(Stdio::null()).status();
    }
    assert!(is_there(), "these tests need {program}: install it, as by `apt-get install {packages}`");
}
