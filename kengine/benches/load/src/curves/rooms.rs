//! Rooms: what a player's rooms cost while he sends messages, and while he is idle.

use std::io;
use std::slice;

use super::curve::{Curve, Header, Scale};
use super::{Bench, Measured, SERVER, connect};
use crate::client::Client;
use crate::generator::{after, answers, idle};
use crate::process::Server;
use crate::wire;

const ROOMS: [usize; 6] = [1, 2, 4, 8, 16, 32];
const TALKING: usize = 64;
const IDLE: usize = 5000;
/// The players of a room.
const MEMBERS: usize = 10;

const CPU: Header = Header {
    name: "rooms-cpu",
    title: "A message of a player who is in several rooms",
    x: "rooms of each player",
    scale: Scale::Linear,
    y: "server CPU per message in µs, 64 players, 1 in flight",
    lines: &["rooms of 10"],
};

const MEMORY: Header = Header {
    name: "rooms-memory",
    title: "An idle player who is in several rooms",
    x: "rooms of each player",
    scale: Scale::Linear,
    y: "bytes of resident memory per player",
    lines: &["rooms of 10"],
};

pub fn measure(bench: &Bench<'_>) -> io::Result<Measured> {
    let cpu = Curve::measure(CPU, bench.rounds(), &ROOMS, |rooms| {
        let server = bench.start()?;
        let clients = (0..TALKING).map(|number| enter(&server, number, rooms)).collect::<io::Result<_>>()?;
        let servers = slice::from_ref(&server);
        let sample = answers::measure(servers, clients, &SERVER.dialect.chat(), 1, bench.period())?;
        Ok([Some(sample.cpu_per_unit)])
    })?;
    let memory = Curve::measure(MEMORY, bench.rounds(), &ROOMS, |rooms| {
        let server = bench.start()?;
        let footprint = idle::measure(slice::from_ref(&server), IDLE, |number| enter(&server, number, rooms))?;
        Ok([Some(footprint.user)])
    })?;
    Ok((vec![cpu, memory], Vec::new()))
}

/// Opens the connection of a player who is in so many rooms, which he shares with nine others.
fn enter(server: &Server, number: usize, rooms: usize) -> io::Result<Client> {
    let first = number / MEMBERS * rooms;
    after(connect(server, number)?, &wire::enter(first..first + rooms))
}
