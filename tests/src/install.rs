//! Programs that tests need and a machine may lack.

use std::{
    collections::HashSet,
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

/// Checks with the command `probe` that a program is installed; otherwise tries to install its packages.
///
/// # Panics
///
/// Panics if the program cannot be installed.
pub(crate) fn install(program: &'static str, probe: &str, packages: &str) {
    static FOUND: Mutex<Option<HashSet<&str>>> = Mutex::new(None);
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if !found.get_or_insert_default().insert(program) {
        return;
    }
    let succeeds = |command: &str| {
        let mut shell = Command::new("sh");
        let ran = shell.args(["-c", command]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        ran.is_ok_and(|status| status.success())
    };
    if !succeeds(probe) {
        succeeds(&format!("apt-get update -qq && apt-get install -y -qq {packages}"));
    }
    assert!(succeeds(probe), "these tests need {program}: install it, as by `apt-get install {packages}`");
}
