//! Instructions in user mode for each message, delivery and connection, counted by callgrind. They vary far less than
//! times.
//!
//! Two runs differ only in how much the clients do, so that what the start and the end cost cancels out.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Error};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::client::Client;
use crate::process::{Server, signal};
use crate::servers::{KENGINE, Program, RESUMING};
use crate::wire::{Dialect, Exchange};
use crate::work::{CLIENTS, Work, answers};

/// What the clients do, how often in the two runs, and the budget of kengine in instructions.
struct Count {
    name: &'static str,
    work: Work,
    /// In the second run each client gets a multiple of 64 messages more, after which both sides acknowledge.
    times: [usize; 2],
    must: Option<f64>,
}

/// How many of the instructions of usual clients those may take whose sessions can be resumed.
const RESUMING_AT_MOST: f64 = 1.03;

const COUNTS: [Count; 5] = [
    Count { name: "message, 64 × 1", work: Work::Answers { in_flight: 1 }, times: [100, 420], must: Some(5000.0) },
    Count { name: "message, 64 × 16", work: Work::Answers { in_flight: 16 }, times: [10, 42], must: Some(3400.0) },
    Count { name: "delivery to 1,000, × 1", work: Work::FanOut { in_flight: 1 }, times: [16, 80], must: None },
    Count { name: "delivery to 1,000, × 4", work: Work::FanOut { in_flight: 4 }, times: [4, 20], must: None },
    Count { name: "connection", work: Work::Connects, times: [200, 1000], must: None },
];

/// Counts the instructions of some servers, and prints them.
pub fn count(programs: &[Program], binaries: &Path, out: &Path) -> io::Result<()> {
    let (mut rows, mut usual) = (Vec::new(), HashMap::new());
    println!("\n## Instructions in user mode\n\n| server | of | instructions | must |\n|---|---|---|---|");
    for program in programs {
        // The echo of fastwebsockets has no rooms.
        let counts = COUNTS
            .iter()
            .filter(|count| !matches!(count.work, Work::FanOut { .. }) || program.dialect != Dialect::Echo);
        for count in counts {
            let [fewer, more] = count.times;
            let run = |times| count.run(program, binaries, times, out);
            #[expect(clippy::cast_precision_loss, reason = "these are far fewer than 2^52")]
            let each = (run(more)? - run(fewer)?) as f64 / ((more - fewer) * count.work.units()) as f64;
            let must = match program {
                program if *program == KENGINE => count.must,
                program if *program == RESUMING => usual.get(count.name).map(|usual| usual * RESUMING_AT_MOST),
                _ => None,
            };
            if *program == KENGINE {
                usual.insert(count.name, each);
            }
            let shown = must
                .map_or_else(String::new, |must| format!("≤ {must:.0} {}", if each <= must { "ok" } else { "not ok" }));
            println!("| {} | {} | {each:.0} | {shown} |", program.name, count.name);
            rows.push(json!({ "server": program.name, "of": count.name, "instructions": each, "must": must }));
        }
    }
    fs::write(out.join("instructions.json"), format!("{:#}\n", Value::from(rows)))
}

impl Count {
    /// Returns the instructions of one run.
    fn run(&self, program: &Program, binaries: &Path, times: usize, out: &Path) -> io::Result<i64> {
        let command = program.command(binaries);
        let work =
            |server: &Server| self.work.run(server, program.dialect, times, &|send| send_to_stopped(server, send));
        profile(&command, out, work)
    }
}

/// Returns the instructions per message, where each client has one under way: client `n` sends message `n`, again and
/// again.
pub fn per_message(
    binary: &Path,
    dialect: Dialect,
    message: impl Fn(usize) -> Exchange,
    out: &Path,
) -> io::Result<f64> {
    const TIMES: [usize; 2] = [20, 80];
    let messages: Vec<_> = (0..CLIENTS).map(message).collect();
    let run = |times| {
        let sending =
            |server: &Server| answers(server, dialect, &messages, times, &|send| send_to_stopped(server, send));
        profile(&Command::new(binary), out, sending)
    };
    let [fewer, more] = TIMES;
    #[expect(clippy::cast_precision_loss, reason = "these are far fewer than 2^52")]
    let each = (run(more)? - run(fewer)?) as f64 / ((more - fewer) * CLIENTS) as f64;
    Ok(each)
}

/// Returns the instructions of a server in user mode, from its start to its end.
fn profile(program: &Command, out: &Path, work: impl FnOnce(&Server) -> io::Result<Vec<Client>>) -> io::Result<i64> {
    let profile = out.join("callgrind.out");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--tool=callgrind"]);
    valgrind.arg(format!("--callgrind-out-file={}", profile.display()));
    valgrind.arg(program.get_program()).args(program.get_args());
    let server = Server::start_command(&mut valgrind)?;
    drop(work(&server)?);
    signal(server.pid(), Signal::TERM)?;
    server.ended()?;
    let profile = fs::read_to_string(profile)?;
    let total = profile.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
    total.ok_or_else(|| Error::other("callgrind wrote no total"))
}

/// Lets all clients send while the server stands still, so that it always finds all messages.
fn send_to_stopped(server: &Server, send: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
    signal(server.pid(), Signal::STOP)?;
    while !server.is_stopped()? {}
    send()?;
    signal(server.pid(), Signal::CONT)
}
