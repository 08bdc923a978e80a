//! What was measured of a row: the medians of the rounds, and of the ratios to the reference in the same round.

use serde_json::{Value, json};

use crate::generator::Measured;
use crate::rows::{Budget, Limit, Metric, Row};
use crate::servers::Program;

/// The rounds of a row: for each server, what was measured in each round.
#[derive(Debug)]
pub struct Results<'r> {
    pub row: &'r Row,
    pub servers: Vec<(Program, Vec<Measured>)>,
}

/// The least, the middle and the greatest of some values.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub least: f64,
    pub median: f64,
    pub greatest: f64,
}

/// A budget, and what was measured of it.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub budget: Budget,
    pub ratio: Option<f64>,
    pub holds: bool,
}

impl Spread {
    /// The values of a metric in some rounds.
    pub fn of_metric(metric: Metric, rounds: &[Measured]) -> Option<Self> {
        Self::of(rounds.iter().filter_map(|measured| metric.of(measured)).collect())
    }

    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = match values.len() {
            0 => return None,
            len if len % 2 == 1 => values[middle],
            _ => f64::midpoint(values[middle - 1], values[middle]),
        };
        Some(Self { least: values[0], median, greatest: values[values.len() - 1] })
    }
}

impl Results<'_> {
    /// The median of the ratios to the reference, round by round.
    pub fn ratio(&self, metric: Metric, rounds: &[Measured]) -> Option<f64> {
        let (_, reference) = self.servers.iter().find(|(program, _)| *program == self.row.reference)?;
        let ratios = rounds
            .iter()
            .zip(reference)
            .filter_map(|(measured, reference)| Some(metric.of(measured)? / metric.of(reference)?));
        Spread::of(ratios.collect()).map(|ratios| ratios.median)
    }

    /// Whether a server meets the budgets, if it has to.
    pub fn verdicts(&self, program: Program, rounds: &[Measured]) -> Vec<Verdict> {
        if !self.row.subjects.contains(&program) {
            return Vec::new();
        }
        let verdict = |budget: &Budget| {
            let value = Spread::of_metric(budget.metric, rounds)?.median;
            let ratio = self.ratio(budget.metric, rounds);
            Some(Verdict { budget: *budget, ratio, holds: budget.limit.holds(value, ratio) })
        };
        self.row.budgets.iter().filter_map(verdict).collect()
    }

    /// Prints the table of the row.
    pub fn print(&self) {
        let row = self.row;
        let metrics: Vec<Metric> = Metric::ALL
            .into_iter()
            .filter(|metric| self.servers.iter().any(|(_, rounds)| Spread::of_metric(*metric, rounds).is_some()))
            .collect();
        let drawn = row.budgets[0].metric;
        let mut lines = vec![vec!["server".to_owned()]];
        lines[0].extend(metrics.iter().map(|metric| metric.heading(row.unit)));
        lines[0].extend(["ratio".to_owned(), "must".to_owned()]);
        for (program, rounds) in &self.servers {
            let mut cells = vec![program.name.to_owned()];
            cells.extend(metrics.iter().map(|metric| {
                Spread::of_metric(*metric, rounds).map_or_else(String::new, |spread| metric.format(spread.median))
            }));
            cells.push(self.ratio(drawn, rounds).map_or_else(String::new, |ratio| format!("{ratio:.3}×")));
            cells.push(self.musts(*program, rounds));
            lines.push(cells);
        }
        let rounds = self.servers.iter().map(|(_, rounds)| rounds.len()).max().unwrap_or(0);
        println!("\n## {} ({})\n", row.title, row.name);
        print_table(&lines);
        println!(
            "\nMedians of {rounds} rounds. The ratio is that of {}, to {}.",
            drawn.heading(row.unit),
            row.reference.name
        );
    }

    /// The budgets of the row: the load, the server, what was measured, what must hold, and whether it does.
    pub fn budgets(&self) -> Vec<Vec<String>> {
        let mut lines = Vec::new();
        for (program, rounds) in &self.servers {
            for Verdict { budget: Budget { metric, limit }, ratio, holds } in self.verdicts(*program, rounds) {
                let value = Spread::of_metric(metric, rounds).map_or_else(String::new, |s| metric.format(s.median));
                let measured = match (limit, ratio) {
                    (Limit::RatioAtMost(_) | Limit::RatioAtLeast(_), Some(ratio)) => format!("{ratio:.3}× ({value})"),
                    _ => value,
                };
                let what = format!("{}: {}", self.row.name, metric.heading(self.row.unit));
                let result = if holds { "ok" } else { "not ok" };
                lines.push(vec![what, program.name.to_owned(), measured, limit.to_string(), result.to_owned()]);
            }
        }
        lines
    }

    /// The budgets of a server, each with whether it holds.
    fn musts(&self, program: Program, rounds: &[Measured]) -> String {
        let must = |verdict: Verdict| {
            let Budget { metric, limit } = verdict.budget;
            let result = if verdict.holds { "ok" } else { "not ok" };
            if metric == self.row.budgets[0].metric {
                format!("{limit} {result}")
            } else {
                format!("{} {limit}: {:.3}× {result}", metric.heading(self.row.unit), verdict.ratio.unwrap_or(f64::NAN))
            }
        };
        self.verdicts(program, rounds).into_iter().map(must).collect::<Vec<_>>().join(", ")
    }

    pub fn to_json(&self) -> Value {
        let servers = self.servers.iter().map(|(program, rounds)| {
            let metrics = Metric::ALL.into_iter().filter_map(|metric| {
                let Spread { least, median, greatest } = Spread::of_metric(metric, rounds)?;
                let ratio = self.ratio(metric, rounds);
                Some(
                    json!({ "metric": metric, "median": median, "least": least, "greatest": greatest, "ratio": ratio }),
                )
            });
            let verdicts = self.verdicts(*program, rounds).into_iter().map(|verdict| {
                let Budget { metric, limit } = verdict.budget;
                json!({ "metric": metric, "must": limit.to_string(), "ratio": verdict.ratio, "holds": verdict.holds })
            });
            json!({
                "name": program.name,
                "metrics": metrics.collect::<Vec<_>>(),
                "budgets": verdicts.collect::<Vec<_>>(),
                "rounds": rounds,
            })
        });
        json!({
            "name": self.row.name,
            "title": self.row.title,
            "reference": self.row.reference.name,
            "servers": servers.collect::<Vec<_>>(),
        })
    }
}

/// Prints a table in Markdown, with columns of equal width.
pub fn print_table(lines: &[Vec<String>]) {
    let widths: Vec<usize> = (0..lines[0].len())
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    for (number, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        println!("| {} |", cells.collect::<Vec<_>>().join(" | "));
        if number == 0 {
            let rules = widths.iter().map(|&width| "-".repeat(width + 2));
            println!("|{}|", rules.collect::<Vec<_>>().join("|"));
        }
    }
}
