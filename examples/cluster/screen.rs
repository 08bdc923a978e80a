//! The interface in a terminal: draws the table, and reads keys.

use std::{mem::ManuallyDrop, thread};

use anyhow::{Context, Result};
use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use futures_util::StreamExt;
use ratatui::{DefaultTerminal, widgets::TableState};

use crate::{Command, cluster::Cluster, drawing::draw, node::Node};

pub(crate) struct Screen {
    /// Never dropped, because dropping it panics if the terminal is gone.
    terminal: ManuallyDrop<DefaultTerminal>,
    keys: EventStream,
    /// The selected row of the table. Keys apply to its node.
    selected: TableState,
    /// The numbers of the nodes in the rows.
    numbers: Vec<usize>,
}

impl Screen {
    pub(crate) fn new() -> Result<Self> {
        let terminal = ratatui::try_init().context("cannot draw in this terminal")?;
        let selected = TableState::new().with_selected(0);
        let terminal = ManuallyDrop::new(terminal);
        Ok(Self { terminal, keys: EventStream::new(), selected, numbers: Vec::new() })
    }

    pub(crate) async fn next(&mut self) -> Result<Command> {
        let event = self.keys.next().await.context("the terminal is gone")??;
        let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else {
            return Ok(Command::Redraw);
        };
        let number = self.selected.selected().and_then(|row| self.numbers.get(row)).copied();
        Ok(match code {
            KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Command::Interrupt,
            KeyCode::Char('k') => Command::Kill(number),
            KeyCode::Char('d') => Command::Drain(number),
            KeyCode::Char('a') => Command::Add,
            KeyCode::Char('q') => Command::Quit,
            KeyCode::Up => {
                self.selected.select_previous();
                Command::Redraw
            }
            KeyCode::Down => {
                self.selected.select_next();
                Command::Redraw
            }
            _ => Command::Redraw,
        })
    }

    pub(crate) fn show(&mut self, cluster: &Cluster) -> Result<()> {
        self.follow(&cluster.nodes);
        self.terminal.draw(|frame| draw(frame, cluster, &mut self.selected))?;
        Ok(())
    }

    /// Keeps the same node selected while rows are added and removed.
    fn follow(&mut self, nodes: &[Node]) {
        let numbers: Vec<_> = nodes.iter().map(|node| node.number).collect();
        if let Some(row) = self.selected.selected() {
            let number = self.numbers.get(row);
            let now = numbers.iter().position(|other| Some(other) == number);
            self.selected.select(Some(now.unwrap_or(row).min(numbers.len().saturating_sub(1))));
        }
        self.numbers = numbers;
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Fails if the terminal is gone.
        let _ = self.terminal.show_cursor();
        // After a panic, the panic hook has already restored the terminal and printed the message.
        if !thread::panicking() {
            let _ = ratatui::try_restore();
        }
    }
}
