//! Without a terminal: lines out, lines in.

use std::{
    io::{self, Write},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::sync::mpsc;

use crate::{
    Wish,
    cluster::Cluster,
    table::{self, COLUMNS, Row},
};

/// How long a table stands before another is printed.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) struct Plain {
    lines: mpsc::Receiver<String>,
    /// How many events have been printed.
    told: usize,
    /// The last table that was printed, without what changes all the time; and when.
    shown: (Vec<Row>, Option<Instant>),
}

impl Plain {
    pub(crate) fn new(cluster: &Cluster) -> Result<Self> {
        let (sender, lines) = mpsc::channel(1);
        // A thread that nobody has to wait for: it ends with the process, whether or not there is another line.
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
        Ok(Self { lines, told: 0, shown: (Vec::new(), None) })
    }

    /// The next line; the end of all lines is not the end.
    pub(crate) async fn wish(&mut self) -> Wish {
        let Some(line) = self.lines.recv().await else { return std::future::pending().await };
        let line = line.trim();
        let (letter, number) = line.split_at(line.chars().next().map_or(0, char::len_utf8));
        let number = number.trim();
        match (letter, number.parse().ok(), number.is_empty()) {
            ("k", None, true) => Wish::Kill(None),
            ("k", number @ Some(_), _) => Wish::Kill(number),
            ("d", None, true) => Wish::Drain(None),
            ("d", number @ Some(_), _) => Wish::Drain(number),
            ("a", _, true) => Wish::Add,
            ("q", _, true) => Wish::Quit,
            ("", ..) => Wish::Look,
            _ => Wish::Unknown(line.to_owned()),
        }
    }

    pub(crate) fn show(&mut self, cluster: &Cluster) -> Result<()> {
        let mut out = io::stdout().lock();
        for (at, what) in &cluster.events[self.told..] {
            writeln!(out, "{:>7.1}s  {what}", at.as_secs_f32())?;
        }
        self.told = cluster.events.len();

        let mut rows: Vec<Row> = cluster.nodes.iter().map(table::row).collect();
        rows.push(table::totals(cluster));
        let lasting = |row: &Row| row[..COLUMNS.len() - 1].to_vec();
        let (shown, at) = &self.shown;
        let is_new = !rows.iter().map(lasting).eq(shown.iter().map(lasting));
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
