//! How the cost of kengine grows with the work: each curve is a chart, and all figures together are `curves.json`.

mod compile_time;
mod connections;
mod curve;
mod generated;
mod line_chart;
mod members;
mod million;
mod nodes;
mod pings;
mod redis_client;
mod rooms;
mod routes;
mod threads;

use std::fs;
use std::io::{self, Error};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use self::curve::{Check, Curve};
use crate::arguments::Arguments;
use crate::client::{self, Client};
use crate::generator::Period;
use crate::process::{self, Server};
use crate::results::print_table;
use crate::servers::CURVES as SERVER;

/// What the curves need.
#[derive(Clone, Copy, Debug)]
pub struct Bench<'a> {
    pub arguments: &'a Arguments,
    /// Where the servers are.
    pub binaries: &'a Path,
    /// The target folder of cargo.
    pub target: &'a Path,
    /// Where the figures and charts go.
    pub out: &'a Path,
    /// How many files a process may open.
    pub open_files: u64,
}

/// What a part measured: its curves, and the budgets that they must meet.
type Measured = (Vec<Curve>, Vec<Check>);

/// A part: its name in arguments, what it measures, and how.
type Part = (&'static str, &'static str, fn(&Bench<'_>) -> io::Result<Measured>);

const PARTS: &[Part] = &[
    ("connections", "CPU per message, and memory per idle connection, by connections", connections::measure),
    ("members", "CPU per delivery, by members of the room", members::measure),
    ("rooms", "CPU per message, and memory per player, by rooms of each player", rooms::measure),
    ("routes", "instructions per message, by routes of the block", routes::measure),
    ("compile-time", "time of a debug build, by routes of the block, beside code by hand", compile_time::measure),
    ("threads", "CPU per message and delivery, by threads of the server", threads::measure),
    ("nodes", "time of Redis for a pick and a beat, by nodes", nodes::measure),
    ("pings", "CPU per ping, by idle connections", pings::measure),
];

/// Prints the names of the parts.
pub fn list() {
    for (name, what, _) in PARTS {
        println!("{name:14} {what}");
    }
}

/// Measures the selected parts, and writes their charts and figures.
pub fn run(bench: &Bench<'_>) -> io::Result<()> {
    process::pin_generator()?;
    let (mut curves, mut checks) = (Vec::new(), Vec::new());
    for (name, _, measure) in PARTS.iter().filter(|(name, ..)| bench.arguments.selects(name)) {
        let (measured, checked) = measure(bench).map_err(|error| Error::other(format!("{name}: {error}")))?;
        for curve in &measured {
            curve.print();
            fs::write(bench.out.join(format!("curve-{}.svg", curve.header.name)), line_chart::draw(curve))?;
        }
        curves.extend(measured);
        checks.extend(checked);
    }
    if curves.is_empty() {
        return Err(Error::other("there is no such curve; `--list --curves` shows the curves"));
    }
    let million = million::estimate(&curves);
    let report = json!({
        "machine": crate::machine(),
        "seconds": bench.arguments.measured.as_secs_f64(),
        "curves": curves.iter().map(Curve::to_json).collect::<Vec<_>>(),
        "budgets": checks.iter().map(Check::to_json).collect::<Vec<_>>(),
        "million": million.as_ref().map(million::Estimate::to_json),
    });
    fs::write(bench.out.join("curves.json"), format!("{report:#}\n"))?;
    if let Some(million) = million {
        million.print();
    }
    if !checks.is_empty() {
        println!("\n## Budgets of the curves\n");
        let heading = ["budget", "measured", "must", ""].map(str::to_owned).to_vec();
        print_table(&[heading].into_iter().chain(checks.iter().map(Check::line)).collect::<Vec<_>>());
    }
    println!("\nThe figures and charts are in {}.", bench.out.display());
    Ok(())
}

/// An idle timeout that no run lasts for.
const NO_PINGS: Duration = Duration::from_hours(1);

impl Bench<'_> {
    fn rounds(&self) -> usize {
        self.arguments.rounds
    }

    fn period(&self) -> Period {
        self.arguments.period()
    }

    /// Starts the server of the curves. It does not ping: opening many connections may take longer than the default
    /// time until a ping.
    fn start(&self) -> io::Result<Server> {
        self.start_with_idle_timeout(NO_PINGS)
    }

    /// Starts it with an idle timeout of whole seconds.
    fn start_with_idle_timeout(&self, timeout: Duration) -> io::Result<Server> {
        Server::start_command(&mut self.command(timeout))
    }

    /// Starts it with so many threads for connections, on all cores.
    fn start_with_threads(&self, threads: usize) -> io::Result<Server> {
        // tokio reads it for the runtime of `#[tokio::main]`, and kengine starts as many threads.
        Server::start_on_all_cores(self.command(NO_PINGS).env("TOKIO_WORKER_THREADS", threads.to_string()))
    }

    fn command(&self, idle_timeout: Duration) -> Command {
        let mut command = Command::new(self.binaries.join(SERVER.binary));
        command.arg(idle_timeout.as_secs().to_string());
        command
    }
}

/// Opens a connection to the server of the curves.
fn connect(server: &Server, number: usize) -> io::Result<Client> {
    client::connect(server.port, SERVER.dialect, &format!("player-{number}"))
}
