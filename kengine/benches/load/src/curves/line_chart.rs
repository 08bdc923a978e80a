//! A chart of a curve: a line for each line, with the range of the rounds. It is SVG, and readable on light and on dark
//! pages. What is measured is drawn from zero.

use std::fmt::Write;

use super::curve::{Curve, Scale, format, group};
use crate::chart::escape;

const WIDTH: f64 = 560.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 530.0;
const TOP: f64 = 66.0;
const BOTTOM: f64 = 236.0;
/// Where the names of the lines begin.
const LEGEND: f64 = 290.0;
const LEGEND_LINE: f64 = 18.0;
/// How many lines the grid has at most.
const GRID_LINES: f64 = 5.0;

const STYLE: &str = "
  text { font: 12px system-ui, sans-serif; fill: #1c2430 }
  .title { font-size: 15px; font-weight: 600 }
  .note { fill: #5b6675 }
  .grid { stroke: #d5dce5; stroke-width: 1 }
  .line { fill: none; stroke-width: 2 }
  .line0 { stroke: #2f6fde } .line1 { stroke: #c2571a } .line2 { stroke: #2e8b57 } .line3 { stroke: #8250c4 }
  .dot0 { fill: #2f6fde } .dot1 { fill: #c2571a } .dot2 { fill: #2e8b57 } .dot3 { fill: #8250c4 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e4e9f0 }
    .note { fill: #9aa7b8 }
    .grid { stroke: #36424f }
    .line0 { stroke: #6ea1f7 } .line1 { stroke: #f0975f } .line2 { stroke: #5fc48c } .line3 { stroke: #b794f0 }
    .dot0 { fill: #6ea1f7 } .dot1 { fill: #f0975f } .dot2 { fill: #5fc48c } .dot3 { fill: #b794f0 }
  }
";

/// Draws a curve.
#[expect(clippy::cast_precision_loss, reason = "the amounts of work are far below 2^52")]
pub fn draw(curve: &Curve) -> String {
    let header = curve.header;
    let lines: Vec<_> = (0..header.lines.len()).map(|line| curve.line(line)).collect();
    let mut xs: Vec<usize> = lines.iter().flatten().map(|(x, _)| *x).collect();
    xs.sort_unstable();
    xs.dedup();
    let [least, most] = [xs.first(), xs.last()].map(|x| x.map_or(1.0, |x| *x as f64));
    let greatest = lines.iter().flatten().map(|(_, spread)| spread.greatest).fold(f64::MIN_POSITIVE, f64::max);
    let step = step(greatest);
    let top = (greatest / step).ceil() * step;
    let share = |x: f64| match header.scale {
        Scale::Linear => x / most,
        Scale::Logarithmic => (x / least).ln() / (most / least).ln().max(f64::MIN_POSITIVE),
    };
    let at_x = |x: f64| LEFT + share(x) * (RIGHT - LEFT);
    let at_y = |y: f64| BOTTOM - y / top * (BOTTOM - TOP);

    let mut body = String::new();
    // Writing to a string cannot fail.
    let mut value = 0.0;
    while value <= top * 1.001 {
        let (y, label) = (at_y(value), if value == 0.0 { "0".to_owned() } else { format(value) });
        let (left, text) = (LEFT - 8.0, y + 4.0);
        let _ = write!(
            body,
            r#"
<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1}" y2="{y:.1}"/>
<text class="note" x="{left}" y="{text:.1}" text-anchor="end">{label}</text>"#
        );
        value += step;
    }
    let mut last_label = f64::NEG_INFINITY;
    for x in xs {
        let at = at_x(x as f64);
        // Labels that would touch are left out.
        if at - last_label > 40.0 {
            last_label = at;
            let (below, label) = (BOTTOM + 18.0, group(x));
            let _ = write!(
                body,
                "\n<text class=\"note\" x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{label}</text>"
            );
        }
    }
    for (number, (points, name)) in lines.iter().zip(header.lines).enumerate() {
        let path: Vec<String> =
            points.iter().map(|(x, spread)| format!("{:.1},{:.1}", at_x(*x as f64), at_y(spread.median))).collect();
        let _ = write!(body, "\n<polyline class=\"line line{number}\" points=\"{}\"/>", path.join(" "));
        for (x, spread) in points {
            let x = at_x(*x as f64);
            let [low, middle, high] = [spread.least, spread.median, spread.greatest].map(at_y);
            let _ = write!(
                body,
                r#"
<line class="line{number}" x1="{x:.1}" x2="{x:.1}" y1="{low:.1}" y2="{high:.1}"/>
<circle class="dot{number}" cx="{x:.1}" cy="{middle:.1}" r="3"/>"#
            );
        }
        let y = LEGEND + LEGEND_LINE * number as f64;
        let (dot, text, name) = (y - 4.0, LEFT + 12.0, escape(name));
        let _ = write!(
            body,
            "\n<circle class=\"dot{number}\" cx=\"{LEFT}\" cy=\"{dot}\" r=\"4\"/>\n<text x=\"{text}\" y=\"{y}\">{name}</text>"
        );
    }
    let (title, x, y) = (escape(header.title), escape(header.x), escape(header.y));
    let (below, middle, height) =
        (BOTTOM + 36.0, f64::midpoint(LEFT, RIGHT), LEGEND + LEGEND_LINE * lines.len() as f64);
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}">
<style>{STYLE}</style>
<text class="title" x="16" y="26">{title}</text>
<text class="note" x="16" y="46">{y}</text>{body}
<text class="note" x="{middle}" y="{below}" text-anchor="middle">{x}</text>
</svg>
"#
    )
}

/// Returns the distance of the lines of the grid: 1, 2 or 5 times a power of ten.
fn step(greatest: f64) -> f64 {
    let least = greatest / GRID_LINES;
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0].map(|factor| factor * power).into_iter().find(|step| *step >= least).unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_has_round_values() {
        let steps = [0.9, 4.8, 5.0, 23.0, 900.0].map(|greatest| format(step(greatest)));
        assert_eq!(steps, ["0.20", "1.00", "1.00", "5.00", "200"]);
    }
}
