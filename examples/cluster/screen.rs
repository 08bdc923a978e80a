//! In a terminal: a table that is drawn anew, and keys.

use std::{mem::ManuallyDrop, thread};

use anyhow::{Context, Result};
use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use futures_util::StreamExt;
use ratatui::{DefaultTerminal, widgets::TableState};

use crate::{Wish, cluster::Cluster, drawing::draw, node::Node};

pub(crate) struct Screen {
    /// Never dropped: where the terminal is gone, it would panic over a cursor that it cannot show.
    terminal: ManuallyDrop<DefaultTerminal>,
    keys: EventStream,
    /// Which line of the table is marked; the node in it is told what is pressed.
    marked: TableState,
    /// The numbers of the nodes in its lines.
    numbers: Vec<usize>,
}

impl Screen {
    pub(crate) fn new() -> Result<Self> {
        let terminal = ratatui::try_init().context("cannot draw in this terminal")?;
        let marked = TableState::new().with_selected(0);
        let terminal = ManuallyDrop::new(terminal);
        Ok(Self { terminal, keys: EventStream::new(), marked, numbers: Vec::new() })
    }

    pub(crate) async fn wish(&mut self) -> Result<Wish> {
        let event = self.keys.next().await.context("the terminal is gone")??;
        let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else {
            return Ok(Wish::Look);
        };
        let number = self.marked.selected().and_then(|line| self.numbers.get(line)).copied();
        Ok(match code {
            KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Wish::Interrupt,
            KeyCode::Char('k') => Wish::Kill(number),
            KeyCode::Char('d') => Wish::Drain(number),
            KeyCode::Char('a') => Wish::Add,
            KeyCode::Char('q') => Wish::Quit,
            KeyCode::Up => {
                self.marked.select_previous();
                Wish::Look
            }
            KeyCode::Down => {
                self.marked.select_next();
                Wish::Look
            }
            _ => Wish::Look,
        })
    }

    pub(crate) fn show(&mut self, cluster: &Cluster) -> Result<()> {
        self.follow(&cluster.nodes);
        self.terminal.draw(|frame| draw(frame, cluster, &mut self.marked))?;
        Ok(())
    }

    /// Keeps the mark on its node while lines come and go.
    fn follow(&mut self, nodes: &[Node]) {
        let numbers: Vec<_> = nodes.iter().map(|node| node.number).collect();
        if let Some(line) = self.marked.selected() {
            let number = self.numbers.get(line);
            let now = numbers.iter().position(|other| Some(other) == number);
            self.marked.select(Some(now.unwrap_or(line).min(numbers.len().saturating_sub(1))));
        }
        self.numbers = numbers;
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Where it is gone, there is nothing to restore.
        let _ = self.terminal.show_cursor();
        // After a panic the rest is so already, and what the panic said stands there.
        if !thread::panicking() {
            let _ = ratatui::try_restore();
        }
    }
}
