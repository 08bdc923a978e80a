//! A chart of a row: a bar for each server, with the least and the greatest value of the rounds. It is SVG, and
//! readable on light and on dark pages.

use std::fmt::Write;

use crate::results::{Results, Spread};
use crate::servers::Program;

const WIDTH: f64 = 760.0;
/// Where the bars begin: to the left are the names.
const BARS_LEFT: f64 = 250.0;
const BARS_WIDTH: f64 = 400.0;
const TOP: f64 = 62.0;
const LINE_HEIGHT: f64 = 28.0;
const BAR_HEIGHT: f64 = 18.0;

const STYLE: &str = "
  text { font: 13px system-ui, sans-serif; fill: #1c2430 }
  .title { font-size: 16px; font-weight: 600 }
  .note { fill: #5b6675 }
  .bar { fill: #9fb0c3 }
  .kengine { fill: #2f6fde }
  .reference { fill: #5f748c }
  .range { stroke: #1c2430; stroke-width: 1.5 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e4e9f0 }
    .note { fill: #9aa7b8 }
    .bar { fill: #4c5c70 }
    .kengine { fill: #5b93f5 }
    .reference { fill: #8195ad }
    .range { stroke: #e4e9f0 }
  }
";

/// Draws a row.
pub fn draw(results: &Results<'_>) -> String {
    let row = results.row;
    let metric = row.budgets[0].metric;
    let bars: Vec<(Program, Spread)> = results
        .servers
        .iter()
        .filter_map(|(program, rounds)| Some((*program, Spread::of_metric(metric, rounds)?)))
        .collect();
    let greatest = bars.iter().map(|(_, spread)| spread.greatest).fold(f64::MIN_POSITIVE, f64::max);
    let scale = |value: f64| BARS_LEFT + value / greatest * BARS_WIDTH;
    #[expect(clippy::cast_precision_loss, reason = "there are few servers")]
    let line = |number: usize| TOP + number as f64 * LINE_HEIGHT;
    let height = line(bars.len()) + 8.0;

    let mut body = String::new();
    for (number, (program, spread)) in bars.iter().enumerate() {
        let class = if program.name.starts_with("kengine") {
            "bar kengine"
        } else if *program == row.reference {
            "bar reference"
        } else {
            "bar"
        };
        let top = line(number);
        let (bar_width, middle, text) = (scale(spread.median) - BARS_LEFT, top + BAR_HEIGHT / 2.0, top + 14.0);
        let names_right = BARS_LEFT - 10.0;
        let (least, most) = (scale(spread.least), scale(spread.greatest));
        let (value, values_left) = (metric.format(spread.median), most + 8.0);
        let name = escape(program.name);
        // Writing to a string cannot fail.
        let _ = write!(
            body,
            r#"
<text x="{names_right}" y="{text}" text-anchor="end">{name}</text>
<rect class="{class}" x="{BARS_LEFT}" y="{top}" width="{bar_width:.1}" height="{BAR_HEIGHT}" rx="2"/>
<line class="range" x1="{least:.1}" x2="{most:.1}" y1="{middle}" y2="{middle}"/>
<text x="{values_left:.1}" y="{text}">{value}</text>"#
        );
    }
    let title = escape(row.title);
    let better = if metric.is_better_when_greater() { "more is better" } else { "less is better" };
    let note = escape(&format!("{}: {better}. The line shows the range of the rounds.", metric.heading(row.unit)));
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}">
<style>{STYLE}</style>
<text class="title" x="16" y="26">{title}</text>
<text class="note" x="16" y="46">{note}</text>{body}
</svg>
"#
    )
}

/// Escapes text for SVG.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}
