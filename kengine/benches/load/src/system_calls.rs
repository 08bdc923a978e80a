//! System calls of kengine for each message, delivery and connection, counted by strace. A thread that waits for a lock
//! of another one calls `futex`, so these calls count contended locks.
//!
//! Two runs differ only in how much the clients do, so that the calls of the start, the warm-up and the end cancel out.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Error, ErrorKind};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::process::{Server, signal};
use crate::results::print_table;
use crate::servers::KENGINE;
use crate::work::Work;

/// What the clients do, how often in the two runs, and the most writes for each message, delivery or connection.
struct Count {
    name: &'static str,
    work: Work,
    times: [usize; 2],
    /// The threads of the server.
    threads: usize,
    max_writes: Option<f64>,
}

/// Now and then tokio writes to a descriptor of its own, to wake a thread.
const ONE: Option<f64> = Some(1.01);

const SIXTEEN_MESSAGES: Count = Count {
    name: "message, 64 × 16",
    work: Work::Answers { in_flight: 16 },
    times: [50, 250],
    threads: 1,
    max_writes: Some(1.0 / 12.0),
};

const FOUR_PUSHES: Count = Count {
    name: "delivery to 1,000, × 4",
    work: Work::FanOut { in_flight: 4 },
    times: [10, 40],
    threads: 1,
    max_writes: Some(0.3),
};

const COUNTS: [Count; 7] = [
    Count {
        name: "message, 64 × 1",
        work: Work::Answers { in_flight: 1 },
        times: [50, 250],
        threads: 1,
        max_writes: ONE,
    },
    SIXTEEN_MESSAGES,
    Count {
        name: "delivery to 1,000, × 1",
        work: Work::FanOut { in_flight: 1 },
        times: [10, 40],
        threads: 1,
        max_writes: ONE,
    },
    FOUR_PUSHES,
    Count { name: "connection", work: Work::Connects, times: [200, 1000], threads: 1, max_writes: None },
    Count { name: "message, 64 × 16, 2 threads", threads: 2, ..SIXTEEN_MESSAGES },
    Count { name: "delivery to 1,000, × 4, 2 threads", threads: 2, ..FOUR_PUSHES },
];

/// The columns of the table, with the calls that each of them has.
const KINDS: [(&str, &[&str]); 3] = [
    ("reads", &["read", "readv", "recvfrom", "recvmsg"]),
    ("writes", &["write", "writev", "sendto", "sendmsg"]),
    ("epoll waits", &["epoll_wait", "epoll_pwait", "epoll_pwait2"]),
];

/// Counts the system calls, and prints them.
pub fn count(binaries: &Path, out: &Path) -> io::Result<()> {
    if let Err(error) = Command::new("strace").arg("-V").output() {
        return Err(match error.kind() {
            ErrorKind::NotFound => Error::other("`--system-calls` needs strace: install the package `strace`"),
            _ => error,
        });
    }
    let headings = ["for each", "reads", "writes", "epoll waits", "other", "which", "must"];
    let (mut table, mut rows) = (vec![headings.map(str::to_owned).to_vec()], Vec::new());
    for count in &COUNTS {
        eprintln!("system calls for each {}", count.name);
        let mut calls = count.measure(&binaries.join(KENGINE.binary), out)?;
        rows.push(json!({ "of": count.name, "calls": calls }));
        let kinds = KINDS.map(|(_, names)| names.iter().filter_map(|name| calls.remove(*name)).sum::<f64>());
        let other = calls.values().sum::<f64>();
        // Rarer ones have no part in the work.
        calls.retain(|_, each| each.abs() >= 0.005);
        let which = calls.iter().map(|(name, each)| format!("{name} {each:.2}")).collect::<Vec<_>>().join(", ");
        let must = count.max_writes.map_or_else(String::new, |max| {
            format!("writes ≤ {max:.3} {}", if kinds[1] <= max { "ok" } else { "not ok" })
        });
        let figures = kinds.into_iter().chain([other]).map(|each| format!("{each:.3}"));
        table.push([count.name.to_owned()].into_iter().chain(figures).chain([which, must]).collect());
    }
    println!("\n## System calls of kengine\n");
    print_table(&table);
    fs::write(out.join("system_calls.json"), format!("{:#}\n", Value::from(rows)))
}

impl Count {
    /// Returns the calls for each message, delivery or connection.
    fn measure(&self, binary: &Path, out: &Path) -> io::Result<BTreeMap<String, f64>> {
        let [fewer, more] = self.times;
        let units = (more - fewer) * self.work.units();
        let before = self.run(binary, fewer, out)?;
        let mut calls = self.run(binary, more, out)?;
        for name in before.keys() {
            calls.entry(name.clone()).or_default();
        }
        let difference = |name: &String, calls: i64| calls - before.get(name).copied().unwrap_or(0);
        #[expect(clippy::cast_precision_loss, reason = "these are far fewer than 2^52")]
        let each = |calls: i64| calls as f64 / units as f64;
        Ok(calls.iter().map(|(name, calls)| (name.clone(), each(difference(name, *calls)))).collect())
    }

    /// Returns the calls of one run.
    fn run(&self, binary: &Path, times: usize, out: &Path) -> io::Result<BTreeMap<String, i64>> {
        let summary = out.join("strace.out");
        let mut strace = Command::new("strace");
        strace.args(["-c", "-f", "-o"]).arg(&summary).arg(binary);
        // tokio reads it for the runtime of `#[tokio::main]`, and kengine starts as many threads.
        let server = Server::start_on_all_cores(strace.env("TOKIO_WORKER_THREADS", self.threads.to_string()))?;
        // The server is killed while the clients are connected, so that nothing of their end is counted.
        let _clients = self.work.run(&server, KENGINE.dialect, times, &|send| send())?;
        signal(server.traced_pid()?, Signal::KILL)?;
        server.ended()?;
        let summary = fs::read_to_string(summary)?;
        let calls: BTreeMap<_, _> = summary.lines().filter_map(parse).collect();
        if calls.is_empty() { Err(Error::other(format!("strace counted nothing: {summary}"))) } else { Ok(calls) }
    }
}

/// Returns a call of the summary and how often it was made. The columns are `% time`, `seconds`, `usecs/call`, `calls`,
/// sometimes `errors`, and `syscall`.
fn parse(line: &str) -> Option<(String, i64)> {
    let columns: Vec<_> = line.split_whitespace().collect();
    let (&name, &calls) = (columns.get(4..)?.last()?, columns.get(3)?);
    if name == "total" { None } else { Some((name.to_owned(), calls.parse().ok()?)) }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_summary_of_strace_is_parsed() {
        let lines = [
            ("% time     seconds  usecs/call     calls    errors syscall", None),
            ("------ ----------- ----------- --------- --------- ----------------", None),
            (" 62.50    0.000050           3        12           sendto", Some(("sendto".to_owned(), 12))),
            (" 37.50    0.000030           2        11         4 recvfrom", Some(("recvfrom".to_owned(), 11))),
            ("100.00    0.000080           3        23         4 total", None),
        ];
        for (line, expected) in lines {
            assert_eq!(parse(line), expected, "{line}");
        }
    }
}
