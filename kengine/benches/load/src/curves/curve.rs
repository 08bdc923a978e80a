//! A curve: some lines, each with a point for each amount of work.

use std::io;

use serde_json::{Value, json};

use crate::results::{Spread, print_table};

/// What a curve shows.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Its name in files.
    pub name: &'static str,
    pub title: &'static str,
    /// What grows.
    pub x: &'static str,
    pub scale: Scale,
    /// What is measured, with its unit.
    pub y: &'static str,
    /// The names of the lines.
    pub lines: &'static [&'static str],
}

/// The scale of what grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Shows what depends on the order of magnitude.
    Logarithmic,
    /// Shows what grows in proportion.
    Linear,
}

/// What was measured, by the amount of work.
#[derive(Debug)]
pub struct Curve {
    pub header: Header,
    /// For each amount of work, in ascending order, the points of the lines.
    points: Vec<(usize, Vec<Point>)>,
}

/// The values of the rounds: none if a line has no point there.
type Point = Vec<f64>;

/// A budget, and what was measured of it.
#[derive(Debug)]
pub struct Check {
    pub what: &'static str,
    pub measured: f64,
    pub at_most: f64,
    pub unit: &'static str,
}

impl Curve {
    /// Measures a curve round by round, so that what disturbs the machine for longer disturbs all points alike.
    /// `measure` returns the value of each line at an amount of work.
    pub fn measure<const LINES: usize>(
        header: Header,
        rounds: usize,
        xs: &[usize],
        mut measure: impl FnMut(usize) -> io::Result<[Option<f64>; LINES]>,
    ) -> io::Result<Self> {
        let mut points: Vec<(usize, Vec<Point>)> = xs.iter().map(|x| (*x, vec![Vec::new(); LINES])).collect();
        for round in 1..=rounds {
            eprintln!("{}: round {round}", header.name);
            for (x, lines) in &mut points {
                let values = measure(*x).map_err(|error| io::Error::other(format!("{x} {}: {error}", header.x)))?;
                for (line, value) in lines.iter_mut().zip(values) {
                    line.extend(value);
                }
            }
        }
        Ok(Self { header, points })
    }

    /// Returns the points of a line: the amounts of work, and what was measured there.
    pub fn line(&self, line: usize) -> Vec<(usize, Spread)> {
        let spread = |(x, lines): &(usize, Vec<Point>)| Some((*x, Spread::of(lines.get(line)?.clone())?));
        self.points.iter().filter_map(spread).collect()
    }

    /// Returns the last median of a line.
    pub fn last(&self, line: usize) -> Option<f64> {
        self.line(line).last().map(|(_, spread)| spread.median)
    }

    /// Returns the median of what two lines have at an amount of work, compared in the same round.
    pub fn compare(&self, [line, other]: [usize; 2], x: usize, how: impl Fn(f64, f64) -> f64) -> Option<f64> {
        let (_, lines) = self.points.iter().find(|(at, _)| *at == x)?;
        let compared = lines.get(line)?.iter().zip(lines.get(other)?).map(|(line, other)| how(*line, *other));
        Spread::of(compared.collect()).map(|spread| spread.median)
    }

    /// Prints the table of the curve.
    pub fn print(&self) {
        let Header { name, title, x, y, lines, .. } = self.header;
        let mut table = vec![[x].iter().chain(lines).map(|&heading| heading.to_owned()).collect::<Vec<_>>()];
        for (x, points) in &self.points {
            let cell =
                |point: &Point| Spread::of(point.clone()).map_or_else(String::new, |spread| format(spread.median));
            table.push([group(*x)].into_iter().chain(points.iter().map(cell)).collect());
        }
        println!("\n## {title} ({name})\n");
        print_table(&table);
        println!("\nIn {y}.");
    }

    pub fn to_json(&self) -> Value {
        let Header { name, title, x, y, lines, .. } = self.header;
        let lines = lines.iter().enumerate().map(|(line, name)| {
            let points = self.line(line).into_iter().map(|(x, Spread { least, median, greatest })| {
                json!({ "x": x, "median": median, "least": least, "greatest": greatest })
            });
            json!({ "name": name, "points": points.collect::<Vec<_>>() })
        });
        json!({ "name": name, "title": title, "x": x, "y": y, "lines": lines.collect::<Vec<_>>() })
    }
}

impl Check {
    fn holds(&self) -> bool {
        self.measured <= self.at_most
    }

    /// What must hold, what was measured, and whether it holds.
    pub fn line(&self) -> Vec<String> {
        let Self { what, measured, at_most, unit } = self;
        let result = if self.holds() { "ok" } else { "not ok" };
        vec![(*what).to_owned(), format!("{measured:.2}{unit}"), format!("≤ {at_most}{unit}"), result.to_owned()]
    }

    pub fn to_json(&self) -> Value {
        let Self { what, measured, at_most, unit } = self;
        json!({ "what": what, "measured": measured, "at_most": at_most, "unit": unit.trim(), "holds": self.holds() })
    }
}

/// Writes a value with about three digits.
pub fn format(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is rounded and not negative")]
        _ => group(value.round() as usize),
    }
}

/// Writes a number with commas between thousands.
pub fn group(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!([4.126, 41.26, 412.6, 1_234_567.0].map(format), ["4.13", "41.3", "413", "1,234,567"]);
    }

    #[test]
    fn lines_are_compared_round_by_round() {
        let header = Header { name: "", title: "", x: "", scale: Scale::Linear, y: "", lines: &["a", "b"] };
        let mut round = 0.0;
        let curve = Curve::measure(header, 3, &[5], |_| {
            round += 1.0;
            Ok([Some(round), Some(2.0 * round)])
        });
        assert_eq!(curve.unwrap().compare([1, 0], 5, |b, a| b / a), Some(2.0));
    }
}
