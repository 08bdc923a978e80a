//! Compile time: a debug build of a block with many routes, beside the same by hand. The dependencies are built before.

use std::io;

use super::curve::{Check, Curve, Header, Scale};
use super::generated::{Generated, Style};
use super::{Bench, Measured};

const ROUTES: [usize; 3] = [10, 100, 500];
/// The number of routes of the budget.
const OF_BUDGET: usize = 100;

const TIME: Header = Header {
    name: "compile-time",
    title: "A debug build after an edit of one method",
    x: "routes, each with a message of its own",
    scale: Scale::Linear,
    y: "seconds of CPU that `cargo build` takes",
    lines: &["kengine", "by hand"],
};

pub fn measure(bench: &Bench<'_>) -> io::Result<Measured> {
    let generated = Generated::write(bench, &ROUTES, usize::MAX)?;
    let styles = [Style::Kengine, Style::ByHand];
    for routes in ROUTES {
        for style in styles {
            generated.build(style, routes, &[])?;
        }
    }
    let mut edit = 0;
    let curve = Curve::measure(TIME, bench.rounds(), &ROUTES, |routes| {
        edit += 1;
        let time = |style| {
            generated.edit(style, routes, edit)?;
            generated.build(style, routes, &[]).map(|cpu| Some(cpu.as_secs_f64()))
        };
        Ok([time(styles[0])?, time(styles[1])?])
    })?;
    let added = curve.compare([0, 1], OF_BUDGET, |kengine, by_hand| kengine - by_hand);
    let check = added.map(|measured| Check {
        what: "what 100 routes add to a debug build after an edit, compared with code by hand",
        measured,
        at_most: 1.0,
        unit: " s",
    });
    Ok((vec![curve], check.into_iter().collect()))
}
