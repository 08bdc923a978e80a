//! Runs a complete cluster on one machine: a private Redis, nginx as the gateway, and nodes of the example `chat`.
//!
//! ```sh
//! apt-get install nginx libnginx-mod-http-lua lua-nginx-redis redis-server
//! cargo run --example cluster -- --nodes 3
//! ```
//!
//! It shows a table of the nodes, read from the directory in Redis. Open the gateway's page in a few tabs and chat:
//! each tab is sent to the node with the most free capacity, and all tabs see each other. Then watch the players and
//! the table while you drain a node (`d`: its players reconnect to other nodes), kill one (`k`: it stays in the table
//! until its lease ends, but gets no new players), or add one (`a`). Ctrl-C drains all nodes; a second Ctrl-C kills
//! them.
//!
//! Without a terminal, it prints a plain table after each change, and reads lines from stdin: the same letters,
//! followed by the number of a node, such as `k 2`. `--listen` is the address of the gateway (default
//! `127.0.0.1:8080`), `--capacity` the maximum number of players per node, and `RUST_LOG` what the nodes log, into
//! files in a temporary folder.
//!
//! Read `cluster.rs` first, which starts and ends everything, then `directory.rs`, which reads the directory in Redis.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use anyhow::Result;
use clap::Parser;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

use crate::{
    arguments::{Arguments, Role, Size},
    cluster::{Cluster, LOOK_EVERY},
    plain::Plain,
    screen::Screen,
};

mod arguments;
mod cluster;
mod directory;
mod drawing;
#[path = "../chat/lobby.rs"]
mod lobby;
mod node;
mod plain;
mod processes;
mod requirements;
mod screen;
mod serve;
mod servers;
mod table;

/// A command of the operator.
enum Command {
    Kill(Option<usize>),
    Drain(Option<usize>),
    Add,
    /// Drain all nodes.
    Quit,
    /// Drain all nodes, or kill them if they are draining already.
    Interrupt,
    /// Redraw, because another row was selected or the terminal was resized.
    Redraw,
    Unknown(String),
}

/// The operator's interface.
enum Operator {
    Screen(Screen),
    Plain(Plain),
}

/// Single-threaded, because Linux ends the child processes together with the thread that started them.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Arguments { size, role } = Arguments::parse();
    let done = match role {
        None => run(&size).await,
        Some(Role::Node { listen, redis, capacity }) => serve::serve(listen, redis, capacity).await,
        Some(Role::Attached { parent, command }) => processes::attached(parent, &command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // `eprintln` would panic if stderr is closed.
            let _ = writeln!(std::io::stderr(), "cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(size: &Size) -> Result<()> {
    let mut signals = Signals::new()?;
    let mut cluster = tokio::select! {
        started = Cluster::start(size) => started?,
        () = signals.next() => return Ok(()),
    };
    let mut operator = Operator::new(&cluster)?;
    let operated = operate(&mut cluster, &mut operator, &mut signals).await;
    // Restore the terminal before anything else is printed.
    drop(operator);
    operated.and(cluster.end().await)?;
    // Stdout may be closed.
    let _ = writeln!(std::io::stdout(), "all nodes have drained, and nothing is left running");
    Ok(())
}

/// Executes commands until all nodes have drained.
async fn operate(cluster: &mut Cluster, operator: &mut Operator, signals: &mut Signals) -> Result<()> {
    let mut tick = interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !cluster.has_ended() {
        tokio::select! {
            _ = tick.tick() => cluster.look().await?,
            () = signals.next() => cluster.interrupt(),
            command = operator.next() => match command? {
                Command::Kill(number) => cluster.kill(number),
                Command::Drain(number) => cluster.drain(number),
                Command::Add => cluster.add(),
                Command::Quit => cluster.drain_all(),
                Command::Interrupt => cluster.interrupt(),
                Command::Redraw => {}
                Command::Unknown(what) => cluster.note(format!("unknown command `{what}`; use `k 2`, `d 2`, `a` or `q`")),
            },
        }
        operator.show(cluster)?;
    }
    Ok(())
}

impl Operator {
    fn new(cluster: &Cluster) -> Result<Self> {
        if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
            Ok(Self::Screen(Screen::new()?))
        } else {
            Ok(Self::Plain(Plain::new(cluster)?))
        }
    }

    async fn next(&mut self) -> Result<Command> {
        match self {
            Self::Screen(screen) => screen.next().await,
            Self::Plain(plain) => Ok(plain.next().await),
        }
    }

    fn show(&mut self, cluster: &Cluster) -> Result<()> {
        match self {
            Self::Screen(screen) => screen.show(cluster),
            Self::Plain(plain) => plain.show(cluster),
        }
    }
}

/// The signals that ask the program to end, including the hangup of its terminal.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> Result<Self> {
        Ok(Self([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
