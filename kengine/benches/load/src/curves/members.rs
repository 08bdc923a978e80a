//! Members: what each delivery of a push costs in small and large rooms, and in many small rooms.

use std::io;

use super::curve::{Check, Curve, Header, Scale};
use super::{Bench, Measured, connect};
use crate::generator::{after, fan_out};
use crate::wire::{self, Exchange};

const MEMBERS: [usize; 4] = [10, 100, 1000, 10_000];
/// The members that are spread over small rooms, and compared with as many in one room.
const SPREAD: usize = 10_000;
const SMALL_ROOM: usize = 10;

const CPU: Header = Header {
    name: "members",
    title: "A push to a room",
    x: "members",
    scale: Scale::Logarithmic,
    y: "server CPU per delivery in µs",
    lines: &["a push to one room with all of them", "1,000 pushes in one write, each to a room of 10"],
};

pub fn measure(bench: &Bench<'_>) -> io::Result<Measured> {
    let curve = Curve::measure(CPU, bench.rounds(), &MEMBERS, |members| {
        let spread = if members == SPREAD { Some(delivery(bench, members, members / SMALL_ROOM)?) } else { None };
        Ok([Some(delivery(bench, members, 1)?), spread])
    })?;
    let ratio = curve.compare([1, 0], SPREAD, |spread, one| spread / one);
    let check = ratio.map(|measured| Check {
        what: "a delivery in 1,000 rooms of 10, compared with one room of 10,000",
        measured,
        at_most: 1.2,
        unit: "×",
    });
    Ok((vec![curve], check.into_iter().collect()))
}

/// Measures the CPU per delivery, while a client sends one push to each of the rooms, and again when all have arrived.
fn delivery(bench: &Bench<'_>, members: usize, rooms: usize) -> io::Result<f64> {
    let server = bench.start()?;
    let join = |number| after(connect(&server, number)?, &wire::enter([number % rooms].into_iter()));
    let clients = (0..members).map(join).collect::<io::Result<_>>()?;
    let request = (0..rooms).flat_map(|room| wire::tell(room).request).collect();
    let pushes = Exchange { request, ..wire::tell(0) };
    let sender = connect(&server, members)?;
    fan_out::measure(&server, sender, clients, &pushes, 1, bench.period()).map(|sample| sample.cpu_per_unit)
}
