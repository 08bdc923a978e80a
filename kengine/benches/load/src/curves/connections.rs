//! Connections: what a message costs among them, and how much memory each takes while it is idle.

use std::io;
use std::time::Duration;

use super::curve::{Curve, Header, Scale};
use super::{Bench, Measured, SERVER, connect};
use crate::generator::{Period, after, answers, idle};
use crate::process::Server;

/// The connections of one process.
const CONNECTIONS: [usize; 5] = [100, 1000, 5000, 10_000, 19_000];
/// The connections that two processes share.
const OF_TWO: usize = 19_000;
/// The connections that talk while the others are idle.
const TALKING: usize = 64;
/// Open files besides those of the clients.
const OTHER_FILES: u64 = 300;

const CPU: Header = Header {
    name: "connections-cpu",
    title: "A message among other connections",
    x: "connections",
    scale: Scale::Logarithmic,
    y: "server CPU per message in µs, 1 in flight",
    lines: &["all of them send", "64 of them send, the others are idle", "all of them send, in 2 processes"],
};

const MEMORY: Header = Header {
    name: "connections-memory",
    title: "An idle player: in a room, after a message",
    x: "connections",
    scale: Scale::Logarithmic,
    y: "bytes per connection",
    lines: &["resident memory of the server", "memory of the kernel, server's end", "resident memory, in 2 processes"],
};

pub fn measure(bench: &Bench<'_>) -> io::Result<Measured> {
    let may_open = |connections: &usize| *connections as u64 + OTHER_FILES <= bench.open_files;
    let connections: Vec<usize> = CONNECTIONS.into_iter().filter(may_open).collect();
    let cpu = Curve::measure(CPU, bench.rounds(), &connections, |connections| {
        let of_two = if connections == OF_TWO { Some(message(bench, 2, connections, connections)?) } else { None };
        let talking = message(bench, 1, connections, TALKING)?;
        Ok([Some(message(bench, 1, connections, connections)?), Some(talking), of_two])
    })?;
    let memory = Curve::measure(MEMORY, bench.rounds(), &connections, |connections| {
        let of_two = if connections == OF_TWO { Some(footprint(bench, 2, connections)?.user) } else { None };
        let of_one = footprint(bench, 1, connections)?;
        Ok([Some(of_one.user), of_one.kernel, of_two])
    })?;
    Ok((vec![cpu, memory], Vec::new()))
}

/// Measures the CPU per message, while the first `talking` connections send.
fn message(bench: &Bench<'_>, processes: usize, connections: usize, talking: usize) -> io::Result<f64> {
    let servers = start(bench, processes)?;
    let connect = |number| connect(&servers[number % processes], number);
    let clients = (0..talking).map(connect).collect::<io::Result<_>>()?;
    let _idle = (talking..connections).map(connect).collect::<io::Result<Vec<_>>>()?;
    // Each client sends about ten times, even if there are very many.
    let turn = Duration::from_micros(10) * u32::try_from(talking).unwrap_or(u32::MAX);
    let Period { warm_up, measured } = bench.period();
    let period = Period { warm_up: warm_up.max(turn * 2), measured: measured.max(turn * 10) };
    answers::measure(&servers, clients, &SERVER.dialect.chat(), 1, period).map(|sample| sample.cpu_per_unit)
}

/// Measures the memory of connections that are in a room and have sent a message.
fn footprint(bench: &Bench<'_>, processes: usize, connections: usize) -> io::Result<idle::Footprint> {
    let servers = start(bench, processes)?;
    let (join, chat) = (SERVER.dialect.join(), SERVER.dialect.chat());
    let connect = |number| after(after(connect(&servers[number % processes], number)?, &join)?, &chat);
    idle::measure(&servers, connections, connect)
}

fn start(bench: &Bench<'_>, processes: usize) -> io::Result<Vec<Server>> {
    (0..processes).map(|_| bench.start()).collect()
}
