//! Routes: how long a message looks for its route in small and large blocks. The kernel has no part in it, so
//! instructions in user mode are counted.

use std::io;

use super::curve::{Curve, Header, Scale};
use super::generated::{Generated, Style, package, route_name};
use super::{Bench, Measured, SERVER};
use crate::{instructions, wire};

const ROUTES: [usize; 4] = [1, 10, 100, 500];

const INSTRUCTIONS: Header = Header {
    name: "routes",
    title: "A message to a block with many routes",
    x: "routes, with names of equal length",
    scale: Scale::Linear,
    y: "instructions in user mode per message, 64 players, 1 in flight",
    lines: &["to the last route", "each of 64 players to another route", "by hand, to the last route"],
};

pub fn measure(bench: &Bench<'_>) -> io::Result<Measured> {
    let generated = Generated::write(bench, &ROUTES, 1)?;
    for routes in ROUTES {
        for style in [Style::Kengine, Style::ByHand] {
            generated.build(style, routes, &["--release"])?;
        }
    }
    // Instructions vary little between runs.
    let curve = Curve::measure(INSTRUCTIONS, 1, &ROUTES, |routes| {
        let count = |style, route: &dyn Fn(usize) -> usize| {
            let binary = bench.binaries.join(package(style, routes));
            let message = |client| wire::chat_at(&route_name(route(client)));
            instructions::per_message(&binary, SERVER.dialect, message, bench.out).map(Some)
        };
        let last = |_| routes - 1;
        // A step that is prime to the number of routes, so that the clients' routes lie all over the block.
        let any = |client| client * 37 % routes;
        Ok([count(Style::Kengine, &last)?, count(Style::Kengine, &any)?, count(Style::ByHand, &last)?])
    })?;
    Ok((vec![curve], Vec::new()))
}
