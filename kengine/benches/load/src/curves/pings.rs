//! Pings: what it costs to ask an idle player whether he is still there.

use std::io;
use std::time::Duration;

use super::curve::{Curve, Header, Scale};
use super::{Bench, Measured, connect};
use crate::generator::{Period, pings};

const CONNECTIONS: [usize; 3] = [100, 1000, 10_000];
/// The idle timeout of the server. It pings at a third of it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(6);

const CPU: Header = Header {
    name: "pings",
    title: "A ping to an idle player, and the pong",
    x: "idle connections",
    scale: Scale::Logarithmic,
    y: "server CPU per ping in µs",
    lines: &["kengine"],
};

pub fn measure(bench: &Bench<'_>) -> io::Result<Measured> {
    let curve = Curve::measure(CPU, bench.rounds(), &CONNECTIONS, |connections| {
        let server = bench.start_with_idle_timeout(IDLE_TIMEOUT)?;
        let clients = (0..connections).map(|number| connect(&server, number)).collect::<io::Result<_>>()?;
        // Whole rounds of pings.
        let measured = bench.period().measured.max(IDLE_TIMEOUT / 3 * 2);
        let sample = pings::measure(&server, clients, Period { measured, ..bench.period() })?;
        Ok([Some(sample.cpu_per_unit)])
    })?;
    Ok((vec![curve], Vec::new()))
}
