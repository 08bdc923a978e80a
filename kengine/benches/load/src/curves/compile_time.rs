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
    title: "A debug build of a block with many routes",
    x: "routes, each with a message of its own",
    scale: Scale::Linear,
    y: "seconds of `cargo build` on one core",
    lines: &["after an edit of one method", "by hand, after an edit", "all of it", "by hand, all of it"],
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
        let time = |style, arguments: &[&str]| {
            generated.edit(style, routes, edit)?;
            generated.build(style, routes, arguments).map(|time| Some(time.as_secs_f64()))
        };
        let [edited, by_hand] = [time(styles[0], &[])?, time(styles[1], &[])?];
        // Cargo keeps the results of incremental builds elsewhere.
        let whole = ["--config", "profile.dev.incremental=false"];
        Ok([edited, by_hand, time(styles[0], &whole)?, time(styles[1], &whole)?])
    })?;
    let added = |lines, what| {
        let measured = curve.compare(lines, OF_BUDGET, |kengine, by_hand| kengine - by_hand)?;
        Some(Check { what, measured, at_most: 1.0, unit: " s" })
    };
    let checks = [
        added([0, 1], "what 100 routes add to a debug build after an edit"),
        added([2, 3], "what 100 routes add to a debug build of the whole program"),
    ];
    Ok((vec![curve], checks.into_iter().flatten().collect()))
}
