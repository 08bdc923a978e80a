//! Compares kengine with other servers: each row of the table is a load that the servers carry in turn, round by round.
//! `README.md` in `kengine/benches` explains the figures.

mod arguments;
mod chart;
mod client;
mod curves;
mod generator;
mod instructions;
mod process;
mod results;
mod rows;
mod servers;
mod system_calls;
mod wire;
mod work;

use std::env;
use std::fs;
use std::io::{self, Error};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde_json::json;

use crate::arguments::{Arguments, USAGE};
use crate::curves::Bench;
use crate::generator::{Load, Measured};
use crate::process::Server;
use crate::results::{Results, print_table};
use crate::rows::{CONNECTING, ROWS, Row};
use crate::servers::{KENGINE, Program, RESUMING};

/// The packages of the servers, kengine's first. Each is built by itself, so that none gets features of dependencies
/// that only another one needs.
const PACKAGES: [&str; 2] = ["kengine-server", "peers"];

/// Open files besides those of the clients.
const OTHER_FILES: u64 = 300;

fn main() -> ExitCode {
    if env::args().any(|argument| argument == "--help") {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match Arguments::parse(env::args().skip(1)).map_err(Error::other).and_then(|arguments| run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    if arguments.draws_curves && arguments.lists {
        curves::list();
        return Ok(());
    }
    if arguments.lists {
        for row in ROWS {
            let servers = row.servers.iter().map(|server| server.name).collect::<Vec<_>>().join(", ");
            println!("{:26} {}\n{:26} {servers}", row.name, row.title, "");
        }
        return Ok(());
    }
    let program = env::current_exe()?;
    let binaries = program.parent().ok_or_else(|| Error::other("this program is in no folder"))?;
    let target = binaries.parent().unwrap_or(binaries);
    if arguments.builds {
        let builds_all = !arguments.counts_system_calls && !arguments.draws_curves;
        build(target, if builds_all { &PACKAGES } else { &PACKAGES[..1] })?;
    }
    let out = arguments.out.clone().unwrap_or_else(|| target.join("load"));
    fs::create_dir_all(&out)?;
    let open_files = process::raise_open_files()?;
    if arguments.counts_instructions {
        let is_kengine = |program: &Program| *program == KENGINE || *program == RESUMING;
        let named = |program: &Program| {
            if arguments.servers.is_empty() { is_kengine(program) } else { arguments.names(program) }
        };
        let programs: Vec<Program> = CONNECTING.iter().copied().chain([RESUMING]).filter(named).collect();
        return instructions::count(&programs, binaries, &out);
    }
    if arguments.counts_system_calls {
        return system_calls::count(binaries, &out);
    }
    if arguments.draws_curves {
        return curves::run(&Bench { arguments, binaries, target, out: &out, open_files });
    }
    let mut rows = Vec::new();
    let mut budgets = vec![["budget", "server", "measured", "must", ""].map(str::to_owned).to_vec()];
    for row in ROWS.iter().filter(|row| arguments.selects(row.name)) {
        if let Load::Idle { connections, .. } = row.load
            && open_files < connections as u64 + OTHER_FILES
        {
            println!("\n`{}` is left out, because a process may open only {open_files} files.", row.name);
            continue;
        }
        let results = measure(row, arguments, binaries)?;
        results.print();
        fs::write(out.join(format!("{}.svg", row.name)), chart::draw(&results))?;
        rows.push(results.to_json());
        budgets.extend(results.budgets());
        let report = json!({ "machine": machine(), "seconds": arguments.measured.as_secs_f64(), "rows": rows });
        fs::write(out.join("results.json"), format!("{report:#}\n"))?;
    }
    if rows.is_empty() {
        return Err(Error::other("there is no such row; `--list` shows the rows"));
    }
    println!("\n## Budgets\n");
    print_table(&budgets);
    println!("\nThe figures and charts are in {}.", out.display());
    Ok(())
}

/// Builds the servers of these packages.
fn build(target: &Path, packages: &[&str]) -> io::Result<()> {
    let workspace: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "Cargo.toml"].iter().collect();
    for package in packages {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["build", "--release", "--locked", "--package", package]);
        command.arg("--manifest-path").arg(&workspace).arg("--target-dir").arg(target);
        if !command.status()?.success() {
            return Err(Error::other(format!("`{package}` was not built")));
        }
    }
    Ok(())
}

/// Lets the servers of a row carry its load in turn. Each run has a fresh process.
fn measure<'r>(row: &'r Row, arguments: &Arguments, binaries: &Path) -> io::Result<Results<'r>> {
    let selected =
        |program: &&Program| **program == row.reference || arguments.servers.is_empty() || arguments.names(program);
    let period = arguments.period();
    let mut servers: Vec<(Program, Vec<Measured>)> =
        row.servers.iter().filter(selected).map(|program| (*program, Vec::new())).collect();
    for round in 1..=arguments.rounds.min(row.max_rounds) {
        eprintln!("{}: round {round}", row.name);
        for (program, rounds) in &mut servers {
            let run = || {
                let server = Server::start_command(&mut program.command(binaries))?;
                row.load.measure(&server, program.dialect, period)
            };
            rounds.push(run().map_err(|error| Error::other(format!("{}, {}: {error}", row.name, program.name)))?);
        }
    }
    Ok(Results { row, servers })
}

/// What the figures depend on.
fn machine() -> serde_json::Value {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let model = read("/proc/cpuinfo");
    let model = model.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    json!({
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "processor": model.trim_start_matches([' ', '\t', ':']),
    })
}
