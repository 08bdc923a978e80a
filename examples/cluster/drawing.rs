//! Draws the screen.

use ratatui::{
    Frame,
    layout::{Constraint, Layout},
    style::{Color, Style, Stylize},
    text::{Line, Text},
    widgets::{Block, Borders, Cell, HighlightSpacing, Paragraph, Row, Table, TableState},
};

use crate::{
    cluster::Cluster,
    node::{Node, State},
    table::{self, COLUMNS},
};

/// The widths of the columns. The load bar is inserted before the column `BAR`, and fills the remaining width.
const WIDTHS: [u16; COLUMNS.len()] = [2, 15, 9, 7, 8, 8, 5, 5, 5];
const BAR: usize = 3;
/// The columns with text. Numbers are right-aligned.
const ADDRESS: usize = 1;
const STATE: usize = 2;
/// The minimum width of the terminal, in characters, for wider gaps between the columns.
const WIDE: u16 = 110;
/// The minimum number of lines for events, without their title.
const EVENTS: u16 = 3;

pub(crate) fn draw(frame: &mut Frame<'_>, cluster: &Cluster, selected: &mut TableState) {
    // The header, an empty line, and the totals are part of the table.
    let lines = u16::try_from(cluster.nodes.len()).unwrap_or(u16::MAX).saturating_add(3);
    let max_lines = frame.area().height.saturating_sub(EVENTS + 4);
    let [title, warning, table, events, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(lines.min(max_lines)),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());

    let url = format!("http://{}/", cluster.servers.reachable());
    let name = [" kengine ".bold().reversed(), "  ".into(), url.bold()];
    frame.render_widget(Line::from_iter(name), title);
    frame.render_widget(Line::from(cluster.servers.redis.as_str().dim()).right_aligned(), title);
    if cluster.is_ending() {
        frame.render_widget(Line::from(" all nodes drain; Ctrl-C kills them".yellow()), warning);
    } else if cluster.is_away {
        frame.render_widget(Line::from(" Redis is away: this table is outdated".red()), warning);
    }
    frame.render_stateful_widget(nodes(cluster, table.width), table, selected);
    frame.render_widget(last_events(cluster, events.height), events);
    let keys = [("↑↓", "select"), ("k", "kill"), ("d", "drain"), ("a", "add"), ("q", "drain all and quit")];
    let keys = keys.map(|(key, does)| [" ".into(), key.bold(), " ".into(), does.dim(), " ".into()]);
    frame.render_widget(Line::from(keys.concat()), foot);
}

fn nodes(cluster: &Cluster, width: u16) -> Table<'_> {
    let spacing = if width < WIDE { 1 } else { 2 };
    let gaps = spacing * u16::try_from(WIDTHS.len()).unwrap_or(0);
    let bar = width.saturating_sub(1 + WIDTHS.iter().sum::<u16>() + gaps);
    let mut widths = WIDTHS.to_vec();
    widths.insert(BAR, bar);
    let rows = cluster.nodes.iter().map(|node| {
        let row = line(table::row(node), load(node, bar), colour(node.state));
        if node.runs() { row } else { row.dim() }
    });
    let header = line(COLUMNS.map(str::to_owned), "load".to_owned(), Color::Reset).dim();
    let totals = line(table::totals(cluster), String::new(), Color::Reset).bold().top_margin(1);
    Table::new(rows, widths)
        .header(header)
        .footer(totals)
        .column_spacing(spacing)
        .row_highlight_style(Style::new().bold())
        .highlight_symbol("▸")
        .highlight_spacing(HighlightSpacing::Always)
}

/// Returns a row of the table, with its state and bar in this colour.
fn line(cells: table::Row, bar: String, colour: Color) -> Row<'static> {
    let cells = cells.into_iter().enumerate().map(|(column, cell)| match column {
        ADDRESS => Cell::from(cell),
        STATE => Cell::from(cell).fg(colour),
        _ => Cell::from(Text::from(cell).right_aligned()),
    });
    let mut cells: Vec<_> = cells.collect();
    cells.insert(BAR, Cell::from(bar).fg(colour));
    Row::new(cells)
}

fn colour(state: State) -> Color {
    match state {
        State::Starting => Color::Cyan,
        State::Ready => Color::Green,
        State::Draining => Color::Yellow,
        State::Ended(status) if status.success() => Color::Reset,
        State::Lost | State::Ended(_) => Color::Red,
    }
}

/// Returns a bar that shows how full a node is, in eighths of a character and rounded up.
fn load(node: &Node, width: u16) -> String {
    let Some(entry) = &node.entry else { return String::new() };
    let full = u64::from(width) * 8;
    let eighths = ((entry.players + entry.reserved) * full).div_ceil(entry.capacity.max(1)).min(full);
    let parts = (0..u64::from(width)).map(|at| match eighths.saturating_sub(at * 8) {
        0 => '·',
        part => ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'][usize::try_from(part.min(8) - 1).unwrap_or(0)],
    });
    parts.collect()
}

/// Returns the last events that fit.
fn last_events(cluster: &Cluster, height: u16) -> Paragraph<'_> {
    let room = usize::from(height).saturating_sub(1);
    let last = cluster.events.len().saturating_sub(room);
    let lines = cluster.events[last..]
        .iter()
        .map(|(at, what)| Line::from(vec![format!("{:>7.1}s  ", at.as_secs_f32()).dim(), what.as_str().into()]));
    let title = Block::new().borders(Borders::TOP).border_style(Style::new().dim()).title(" events ");
    Paragraph::new(lines.collect::<Vec<_>>()).block(title)
}
