//! The memory and the files that a process uses, on Linux.

use std::fs;

/// Returns the resident memory of a process in bytes. `pid` is its id, or `self` for this process.
pub fn resident_memory(pid: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a process with memory");
    let kilobytes: usize = line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
    kilobytes * 1024
}

/// Returns how many files a process has open.
pub fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("a running process").count()
}
