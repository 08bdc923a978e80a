//! Instructions in user mode for each message and connection, counted by callgrind. They vary far less than times.
//!
//! Two runs differ only in how much the clients do, so that what the start and the end cost cancels out.

use std::fs;
use std::io::{self, Error, Read};
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::client;
use crate::process::Server;
use crate::servers::Program;
use crate::wire::{self, Dialect, Exchange};

/// What the clients do, how often in the two runs, and the budget of kengine in instructions.
struct Count {
    name: &'static str,
    work: Work,
    times: [usize; 2],
    must: Option<f64>,
}

enum Work {
    /// Rounds of answers. Each client has so many messages in flight.
    Answers {
        in_flight: usize,
    },
    Connects,
}

const CLIENTS: usize = 64;

const COUNTS: [Count; 3] = [
    Count { name: "message, 64 × 1", work: Work::Answers { in_flight: 1 }, times: [100, 400], must: Some(5000.0) },
    Count { name: "message, 64 × 16", work: Work::Answers { in_flight: 16 }, times: [10, 40], must: Some(3400.0) },
    Count { name: "connection", work: Work::Connects, times: [200, 1000], must: None },
];

/// Counts the instructions of some servers, and prints them.
pub fn count(programs: &[Program], binaries: &Path, out: &Path) -> io::Result<()> {
    let mut rows = Vec::new();
    println!("\n## Instructions in user mode\n\n| server | of | instructions | must |\n|---|---|---|---|");
    for program in programs {
        for count in &COUNTS {
            let [fewer, more] = count.times;
            let binary = binaries.join(program.binary);
            let run = |times| count.run(&binary, program.dialect, times, out);
            #[expect(clippy::cast_precision_loss, reason = "these are far fewer than 2^52")]
            let each = (run(more)? - run(fewer)?) as f64 / ((more - fewer) * count.work.units()) as f64;
            let must = count.must.filter(|_| program.name == "kengine");
            let shown = must
                .map_or_else(String::new, |must| format!("≤ {must} {}", if each <= must { "ok" } else { "not ok" }));
            println!("| {} | {} | {each:.0} | {shown} |", program.name, count.name);
            rows.push(json!({ "server": program.name, "of": count.name, "instructions": each, "must": must }));
        }
    }
    fs::write(out.join("instructions.json"), format!("{:#}\n", Value::from(rows)))
}

impl Count {
    /// Returns the instructions of one run.
    fn run(&self, binary: &Path, dialect: Dialect, times: usize, out: &Path) -> io::Result<i64> {
        profile(binary, out, |server| match self.work {
            Work::Answers { in_flight } => {
                let chat = dialect.chat();
                let chats =
                    || Exchange { request: chat.request.repeat(in_flight), answer: chat.answer.repeat(in_flight) };
                answers(server, dialect, (0..CLIENTS).map(|_| chats()).collect(), times)
            }
            Work::Connects => connects(server, dialect, times),
        })
    }
}

/// Returns the instructions per message, where each client has one under way: client `n` sends message `n`, again and
/// again.
pub fn per_message(
    binary: &Path,
    dialect: Dialect,
    messages: impl Fn(usize) -> Exchange,
    out: &Path,
) -> io::Result<f64> {
    const TIMES: [usize; 2] = [20, 80];
    let run =
        |times| profile(binary, out, |server| answers(server, dialect, (0..CLIENTS).map(&messages).collect(), times));
    let [fewer, more] = TIMES;
    #[expect(clippy::cast_precision_loss, reason = "these are far fewer than 2^52")]
    let each = (run(more)? - run(fewer)?) as f64 / ((more - fewer) * CLIENTS) as f64;
    Ok(each)
}

/// Returns the instructions of a server in user mode, from its start to its end.
fn profile(binary: &Path, out: &Path, work: impl FnOnce(&Server) -> io::Result<()>) -> io::Result<i64> {
    let profile = out.join("callgrind.out");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--quiet", "--tool=callgrind"]);
    valgrind.arg(format!("--callgrind-out-file={}", profile.display())).arg(binary);
    let server = Server::start_command(&mut valgrind)?;
    work(&server)?;
    signal(&server, Signal::TERM)?;
    server.ended()?;
    let profile = fs::read_to_string(profile)?;
    let total = profile.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
    total.ok_or_else(|| Error::other("callgrind wrote no total"))
}

impl Work {
    /// How many units one time is.
    fn units(&self) -> usize {
        match self {
            Self::Answers { in_flight } => CLIENTS * in_flight,
            Self::Connects => 1,
        }
    }
}

/// Lets all clients send while the server stands still, so that it always finds all messages, and awaits the answers.
fn answers(server: &Server, dialect: Dialect, messages: Vec<Exchange>, rounds: usize) -> io::Result<()> {
    let connect = |(number, chats)| Ok((client::connect(server.port, dialect, &format!("player-{number}"))?, chats));
    let mut clients = messages.into_iter().enumerate().map(connect).collect::<io::Result<Vec<_>>>()?;
    for _ in 0..rounds {
        signal(server, Signal::STOP)?;
        while !server.is_stopped()? {}
        for (client, chats) in &mut clients {
            client::send(client, chats)?;
        }
        signal(server, Signal::CONT)?;
        for (client, chats) in &mut clients {
            client::expect(client, chats)?;
        }
    }
    Ok(())
}

fn connects(server: &Server, dialect: Dialect, times: usize) -> io::Result<()> {
    let (chat, close) = (dialect.chat(), wire::close());
    for number in 0..times {
        let mut client = client::connect(server.port, dialect, &format!("player-{number}"))?;
        client::ask(&mut client, &chat)?;
        client::ask(&mut client, &close)?;
        if client.read(&mut [0])? != 0 {
            return Err(Error::other("the server sent something after its close frame"));
        }
    }
    Ok(())
}

fn signal(server: &Server, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(server.pid()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Error::other("the server has no process id"))?;
    Ok(kill_process(pid, signal)?)
}
