//! A whole cluster on one machine, to watch it at work: a Redis of its own, nginx as the gateway, and nodes of the
//! example `chat` behind it.
//!
//! ```sh
//! apt-get install nginx libnginx-mod-http-lua lua-nginx-redis redis-server
//! cargo run --example cluster -- --nodes 3
//! ```
//!
//! It shows a table of the nodes, as their directory in Redis has it. Open the gateway's page in a few tabs and talk:
//! each tab is sent to the node with most room, and all hear each other. Then look at what becomes of players and of
//! the table when a node is drained (`d`: its players are told to come back, and get in elsewhere), killed (`k`: it is
//! in the table until its lease is over, but nobody is sent there), or added (`a`). Ctrl-C drains all; again, it kills.
//!
//! Where there is no terminal it prints a plain table whenever something has changed, and takes the same letters as
//! lines, with the number of a node: `k 2`. `--listen` is where the gateway listens (`127.0.0.1:8080`), `--capacity` how
//! many players each node takes; `RUST_LOG` is what the nodes log, into files of a folder that goes with the rest.
//!
//! Look at `cluster.rs` first, what is started and how it ends; then at `directory.rs`, what anybody can read in Redis.

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

/// What an operator wants.
enum Wish {
    Kill(Option<usize>),
    Drain(Option<usize>),
    Add,
    /// Drain all.
    Quit,
    /// Drain all; kill them when they do already.
    Interrupt,
    /// To see what there is; another line was marked, or the terminal has another size.
    Look,
    /// Something of which nothing is known.
    Unknown(String),
}

/// Where it is operated from.
enum Operator {
    Screen(Screen),
    Plain(Plain),
}

/// One thread: what is started is told to end with the thread that started it.
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
            // Not by `eprintln`, which panics where nobody can read it.
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
    // The terminal is as it was before anything else is said.
    drop(operator);
    operated.and(cluster.end().await)?;
    // Whoever has closed our output does not need to know.
    let _ = writeln!(std::io::stdout(), "all nodes have drained, and nothing is left running");
    Ok(())
}

/// Until all nodes have drained.
async fn operate(cluster: &mut Cluster, operator: &mut Operator, signals: &mut Signals) -> Result<()> {
    let mut tick = interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !cluster.has_ended() {
        tokio::select! {
            _ = tick.tick() => cluster.look().await?,
            () = signals.next() => cluster.interrupt(),
            wish = operator.wish() => match wish? {
                Wish::Kill(number) => cluster.kill(number),
                Wish::Drain(number) => cluster.drain(number),
                Wish::Add => cluster.add(),
                Wish::Quit => cluster.drain_all(),
                Wish::Interrupt => cluster.interrupt(),
                Wish::Look => {}
                Wish::Unknown(what) => cluster.note(format!("what is `{what}`? It takes `k 2`, `d 2`, `a` and `q`")),
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

    async fn wish(&mut self) -> Result<Wish> {
        match self {
            Self::Screen(screen) => screen.wish().await,
            Self::Plain(plain) => Ok(plain.wish().await),
        }
    }

    fn show(&mut self, cluster: &Cluster) -> Result<()> {
        match self {
            Self::Screen(screen) => screen.show(cluster),
            Self::Plain(plain) => plain.show(cluster),
        }
    }
}

/// The signals that ask us to end. A terminal that goes is one, too.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
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
