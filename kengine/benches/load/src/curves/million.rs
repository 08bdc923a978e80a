//! The million players on paper: what the pieces that were measured add up to on a larger machine. Nothing here was
//! measured as a whole.

use serde_json::{Value, json};

use super::curve::{Curve, format};
use crate::results::print_table;

const PLAYERS: f64 = 1e6;
/// The machine.
const GIBIBYTES: f64 = 64.0;
const CORES: f64 = 16.0;
const GIBIBYTE: f64 = 1_073_741_824.0;
/// How much of the machine the players may have: the rest is for what waits in buffers, for the system and for peaks.
const USABLE: f64 = 0.75;
/// The default idle timeout is 60 s, and the server pings at a third of it.
const PING_INTERVAL: f64 = 20.0;

/// What the pieces add up to.
#[derive(Debug)]
pub struct Estimate(Vec<Line>);

#[derive(Debug)]
struct Line {
    what: &'static str,
    formula: String,
    value: f64,
    unit: &'static str,
}

/// Adds up the pieces, if all of them were measured.
pub fn estimate(curves: &[Curve]) -> Option<Estimate> {
    let last = |name: &str, line| curves.iter().find(|curve| curve.header.name == name)?.last(line);
    let (user, kernel) = (last("connections-memory", 0)?, last("connections-memory", 1).unwrap_or(0.0));
    let (message, delivery, ping) = (last("connections-cpu", 0)?, last("members", 0)?, last("pings", 0)?);
    let bytes = user + kernel;
    let pings = PLAYERS / PING_INTERVAL * ping / 1e6;
    let free = CORES * USABLE - pings;
    let [user, kernel, shown_bytes] = [user, kernel, bytes].map(format);
    let [message_text, delivery_text, ping_text, of_pings] = [message, delivery, ping, pings].map(format);
    Some(Estimate(vec![
        Line {
            what: "memory of a million idle players",
            formula: format!("10⁶ × ({user} B + {kernel} B of the kernel)"),
            value: PLAYERS * bytes / GIBIBYTE,
            unit: "GiB",
        },
        Line {
            what: "players for whom the memory suffices",
            formula: format!("{USABLE} × {GIBIBYTES} GiB ÷ {shown_bytes} B"),
            value: USABLE * GIBIBYTES * GIBIBYTE / bytes / 1e6,
            unit: "million",
        },
        Line {
            what: "CPU of the pings of a million",
            formula: format!("10⁶ ÷ {PING_INTERVAL} s × {ping_text} µs"),
            value: pings,
            unit: "cores",
        },
        Line {
            what: "messages of each of a million that the CPU suffices for",
            formula: format!("({USABLE} × {CORES} − {of_pings}) cores ÷ {message_text} µs ÷ 10⁶"),
            value: free * 1e6 / message / PLAYERS,
            unit: "per second",
        },
        Line {
            what: "time of one broadcast to a million",
            formula: format!("10⁶ × {delivery_text} µs ÷ ({USABLE} × {CORES} − {of_pings}) cores"),
            value: PLAYERS * delivery / 1e6 / free,
            unit: "s",
        },
    ]))
}

impl Estimate {
    pub fn print(&self) {
        println!("\n## A million players on {CORES} cores and {GIBIBYTES} GiB, on paper\n");
        let heading = ["what", "formula", "result"].map(str::to_owned).to_vec();
        let line = |line: &Line| {
            vec![line.what.to_owned(), line.formula.clone(), format!("{} {}", format(line.value), line.unit)]
        };
        print_table(&[heading].into_iter().chain(self.0.iter().map(line)).collect::<Vec<_>>());
    }

    pub fn to_json(&self) -> Value {
        let line = |Line { what, formula, value, unit }: &Line| json!({ "what": what, "formula": formula, "value": value, "unit": unit });
        self.0.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::curve::{Header, Scale};
    use super::*;

    fn curve<const LINES: usize>(name: &'static str, values: [f64; LINES]) -> Curve {
        let header = Header { name, title: "", x: "", scale: Scale::Linear, y: "", lines: &["", ""] };
        Curve::measure(header, 1, &[1, 2], |_| Ok(values.map(Some))).unwrap()
    }

    #[test]
    fn the_pieces_add_up() {
        let mut curves = vec![
            curve("connections-memory", [1000.0, 4000.0]),
            curve("connections-cpu", [5.0]),
            curve("members", [4.0]),
        ];
        assert!(estimate(&curves).is_none());
        curves.push(curve("pings", [10.0]));
        let results = estimate(&curves).unwrap().0.iter().map(|line| format(line.value)).collect::<Vec<_>>();
        assert_eq!(results, ["4.66", "10.3", "0.50", "2.30", "0.35"]);
    }
}
