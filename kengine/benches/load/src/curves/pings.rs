//! Pings: what it costs to ask an idle player whether he is still there.

use std::io;
use std::process::Command;
use std::time::Duration;

use super::curve::{Curve, Header};
use super::{Bench, Measured, SERVER, connect};
use crate::generator::{Period, pings};
use crate::process::Server;

const CONNECTIONS: [usize; 3] = [100, 1000, 10_000];
/// The idle timeout of the server, in seconds. It pings at a third of it.
const IDLE_TIMEOUT: u32 = 3;

const CPU: Header = Header {
    name: "pings",
    title: "A ping to an idle player, and the pong",
    x: "idle connections",
    y: "server CPU per ping in µs",
    lines: &["kengine"],
};

pub fn measure(bench: &Bench<'_>) -> io::Result<Measured> {
    let curve = Curve::measure(CPU, bench.rounds(), &CONNECTIONS, |connections| {
        let mut command = Command::new(bench.binaries.join(SERVER.binary));
        let server = Server::start_command(command.arg(IDLE_TIMEOUT.to_string()))?;
        let clients = (0..connections).map(|number| connect(&server, number)).collect::<io::Result<_>>()?;
        // Whole rounds of pings.
        let measured = bench.period().measured.max(2 * Duration::from_secs(IDLE_TIMEOUT.into()) / 3);
        let sample = pings::measure(&server, clients, Period { measured, ..bench.period() })?;
        Ok([Some(sample.cpu_per_unit)])
    })?;
    Ok((vec![curve], Vec::new()))
}
