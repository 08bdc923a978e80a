//! Threads: what messages and deliveries cost when connections are spread over several threads.

use std::io;
use std::slice;

use super::curve::{Curve, Header, Scale};
use super::{Bench, Measured, SERVER, connect};
use crate::generator::{after, answers, fan_out};
use crate::wire;

const THREADS: [usize; 2] = [1, 2];
const TALKING: usize = 64;
const MEMBERS: usize = 1000;

const CPU: Header = Header {
    name: "threads",
    title: "Players on several threads",
    x: "threads",
    scale: Scale::Linear,
    y: "server CPU in µs",
    lines: &["per message, 1 in flight", "per message, 16 in flight", "per delivery, a push to 1,000"],
};

/// The second thread shares its core with the clients, so this shows what messages cost, and not how many there are.
pub fn measure(bench: &Bench<'_>) -> io::Result<Measured> {
    let curve = Curve::measure(CPU, bench.rounds(), &THREADS, |threads| {
        let message = |in_flight| -> io::Result<f64> {
            let server = bench.start_with_threads(threads)?;
            let clients = (0..TALKING).map(|number| connect(&server, number)).collect::<io::Result<_>>()?;
            let servers = slice::from_ref(&server);
            let sample = answers::measure(servers, clients, &SERVER.dialect.chat(), in_flight, bench.period())?;
            Ok(sample.cpu_per_unit)
        };
        let delivery = || -> io::Result<f64> {
            let server = bench.start_with_threads(threads)?;
            let join = |number| after(connect(&server, number)?, &wire::enter([0].into_iter()));
            let clients = (0..MEMBERS).map(join).collect::<io::Result<_>>()?;
            let sender = connect(&server, MEMBERS)?;
            let sample = fan_out::measure(&server, sender, clients, &wire::tell(0), 1, bench.period())?;
            Ok(sample.cpu_per_unit)
        };
        Ok([Some(message(1)?), Some(message(16)?), Some(delivery()?)])
    })?;
    Ok((vec![curve], Vec::new()))
}
