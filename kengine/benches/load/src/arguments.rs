//! The arguments of the command.

use std::path::PathBuf;
use std::time::Duration;

use crate::generator::Period;
use crate::servers::Program;

pub const USAGE: &str = "\
Compares kengine with other servers. It needs Linux and two cores: core 0 for the server, core 1 for the clients.

  --rounds N        each server runs N times, in turn with the others (7; with --curves 3)
  --seconds S       how long a run is measured (2; with --curves 1)
  --only ROW,…      only these rows or curves, or those whose names begin so
  --servers NAME,…  only these servers, and the references of the rows
  --out FOLDER      where the figures and the charts go (target/load)
  --curves          measure instead how the cost of kengine grows with connections, members, rooms, routes and nodes
  --instructions    count instructions of kengine, or of the servers that are named, with valgrind instead
  --system-calls    count system calls of kengine with strace instead
  --no-build        use the servers as they were built
  --list            show the rows and their servers, or with --curves the curves
";

/// What to measure.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an argument that is given or not")]
pub struct Arguments {
    pub rounds: usize,
    pub measured: Duration,
    pub only: Vec<String>,
    pub servers: Vec<String>,
    pub out: Option<PathBuf>,
    pub builds: bool,
    pub lists: bool,
    pub counts_instructions: bool,
    pub counts_system_calls: bool,
    pub draws_curves: bool,
}

impl Arguments {
    /// Whether a server is named.
    pub fn names(&self, program: &Program) -> bool {
        self.servers.iter().any(|name| name == program.name)
    }

    /// Whether a row or curve is to be measured.
    pub fn selects(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.starts_with(only.as_str()))
    }

    /// How long a run takes.
    pub fn period(&self) -> Period {
        Period { warm_up: (self.measured / 4).max(Duration::from_millis(200)), measured: self.measured }
    }

    /// Reads the arguments.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Self {
            rounds: 0,
            measured: Duration::ZERO,
            only: Vec::new(),
            servers: Vec::new(),
            out: None,
            builds: true,
            lists: false,
            counts_instructions: false,
            counts_system_calls: false,
            draws_curves: false,
        };
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("`{name}` needs a value"));
            let invalid = |value: &str| format!("`{name} {value}` is not a positive number");
            match &*name {
                "--rounds" => {
                    let value = value()?;
                    parsed.rounds = value.parse().ok().filter(|&rounds| rounds > 0).ok_or_else(|| invalid(&value))?;
                }
                "--seconds" => {
                    let value = value()?;
                    let seconds = value.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
                    parsed.measured = seconds.filter(|seconds| !seconds.is_zero()).ok_or_else(|| invalid(&value))?;
                }
                "--only" => parsed.only = names(&value()?),
                "--servers" => parsed.servers = names(&value()?),
                "--out" => parsed.out = Some(value()?.into()),
                "--no-build" => parsed.builds = false,
                "--curves" => parsed.draws_curves = true,
                "--instructions" => parsed.counts_instructions = true,
                "--system-calls" => parsed.counts_system_calls = true,
                "--list" => parsed.lists = true,
                _ => return Err(format!("there is no argument `{name}`\n\n{USAGE}")),
            }
        }
        let (rounds, seconds) = if parsed.draws_curves { (3, 1) } else { (7, 2) };
        if parsed.rounds == 0 {
            parsed.rounds = rounds;
        }
        if parsed.measured.is_zero() {
            parsed.measured = Duration::from_secs(seconds);
        }
        Ok(parsed)
    }
}

fn names(list: &str) -> Vec<String> {
    list.split(',').map(|name| name.trim().to_owned()).collect()
}
