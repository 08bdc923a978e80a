//! The interface without a terminal: prints lines, and reads commands as lines.

use std::{
    io::{self, Write},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::sync::mpsc;

use crate::{
    Command,
    cluster::Cluster,
    table::{self, COLUMNS, Row},
};

/// The minimum time between two tables.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) struct Plain {
    lines: mpsc::Receiver<String>,
    /// The number of events that have been printed.
    printed: usize,
    /// The last table that was printed, and when.
    shown: (Vec<Row>, Option<Instant>),
}

impl Plain {
    pub(crate) fn new(cluster: &Cluster) -> Result<Self> {
        let (sender, lines) = mpsc::channel(1);
        // Reading stdin blocks, so a thread reads it. The thread ends with the process.
        thread::spawn(move || {
            for line in io::stdin().lines().map_while(Result::ok) {
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        let address = cluster.servers.reachable();
        let mut out = io::stdout().lock();
        writeln!(
            out,
            "the gateway is at http://{address}/, ws://{address}/ws?uid=1001; Redis at {}",
            cluster.servers.redis
        )?;
        writeln!(out, "`k 2` kills node 2, `d 2` drains it, `a` adds one; `q` or Ctrl-C drains all")?;
        Ok(Self { lines, printed: 0, shown: (Vec::new(), None) })
    }

    /// Waits for the next command. After the end of stdin it waits forever.
    pub(crate) async fn next(&mut self) -> Command {
        let Some(line) = self.lines.recv().await else { return std::future::pending().await };
        let line = line.trim();
        let (letter, number) = line.split_at(line.chars().next().map_or(0, char::len_utf8));
        let number = number.trim();
        match (letter, number.parse().ok(), number.is_empty()) {
            ("k", None, true) => Command::Kill(None),
            ("k", number @ Some(_), _) => Command::Kill(number),
            ("d", None, true) => Command::Drain(None),
            ("d", number @ Some(_), _) => Command::Drain(number),
            ("a", _, true) => Command::Add,
            ("q", _, true) => Command::Quit,
            ("", ..) => Command::Redraw,
            _ => Command::Unknown(line.to_owned()),
        }
    }

    pub(crate) fn show(&mut self, cluster: &Cluster) -> Result<()> {
        let mut out = io::stdout().lock();
        for (at, what) in &cluster.events[self.printed..] {
            writeln!(out, "{:>7.1}s  {what}", at.as_secs_f32())?;
        }
        self.printed = cluster.events.len();

        let mut rows: Vec<Row> = cluster.nodes.iter().map(table::row).collect();
        rows.push(table::totals(cluster));
        // The comparison ignores the lease, because it changes all the time.
        let stable = |row: &Row| row[..COLUMNS.len() - 1].to_vec();
        let (shown, at) = &self.shown;
        let is_new = !rows.iter().map(stable).eq(shown.iter().map(stable));
        if is_new && at.is_none_or(|at| at.elapsed() >= PAUSE) {
            writeln!(out, "{}", line(&COLUMNS.map(str::to_owned)))?;
            for row in &rows {
                writeln!(out, "{}", line(row))?;
            }
            self.shown = (rows, Some(Instant::now()));
        }
        out.flush()?;
        Ok(())
    }
}

fn line([number, address, state, players, reserved, capacity, messages, rooms, lease]: &Row) -> String {
    format!(
        "{number:>3}  {address:<15}  {state:<9}  {players:>7}  {reserved:>8}  {capacity:>8}  {messages:>5}  {rooms:>5}  {lease:>5}"
    )
}
