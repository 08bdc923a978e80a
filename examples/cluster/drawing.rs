//! What the screen looks like.

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

/// How wide the columns are. The bar of the load has what is left, before the one of this index.
const WIDTHS: [u16; COLUMNS.len()] = [2, 15, 9, 7, 8, 8, 5, 5, 5];
const BAR: usize = 3;
/// The columns of words; numbers stand to the right.
const ADDRESS: usize = 1;
const STATE: usize = 2;
/// From how many columns of the terminal on there is room between those of the table.
const WIDE: u16 = 110;
/// The lines that are left for events at least, under their title.
const EVENTS: u16 = 3;

pub(crate) fn draw(frame: &mut Frame<'_>, cluster: &Cluster, marked: &mut TableState) {
    // The names of the columns, an empty line, and the totals belong to the table, too.
    let lines = u16::try_from(cluster.nodes.len()).unwrap_or(u16::MAX).saturating_add(3);
    let most = frame.area().height.saturating_sub(EVENTS + 4);
    let [title, warning, table, events, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(lines.min(most)),
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
        frame.render_widget(Line::from(" Redis is away: this is as last seen".red()), warning);
    }
    frame.render_stateful_widget(nodes(cluster, table.width), table, marked);
    frame.render_widget(last_events(cluster, events.height), events);
    let keys = [("↑↓", "mark"), ("k", "kill"), ("d", "drain"), ("a", "add"), ("q", "drain all, and quit")];
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

/// A line of the table. The state and the bar are in this colour.
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

/// How full a node is, to an eighth of a character; one who is alone there is seen, too.
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

/// As many as there is room for.
fn last_events(cluster: &Cluster, height: u16) -> Paragraph<'_> {
    let room = usize::from(height).saturating_sub(1);
    let last = cluster.events.len().saturating_sub(room);
    let lines = cluster.events[last..].iter().map(|(at, what)| {
        Line::from(vec![format!("{:>7.1}s  ", at.as_secs_f32()).dim(), what.as_str().into()])
    });
    let title = Block::new().borders(Borders::TOP).border_style(Style::new().dim()).title(" events ");
    Paragraph::new(lines.collect::<Vec<_>>()).block(title)
}
