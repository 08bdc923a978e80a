//! A node: its process, its entry in the directory, and its state.

use std::{
    mem,
    path::PathBuf,
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use anyhow::Result;
use rustix::process::Signal;

use crate::{
    directory::{Entries, Entry},
    processes::Process,
    table,
};

pub(crate) struct Node {
    pub(crate) number: usize,
    pub(crate) address: String,
    /// The last known entry in the directory.
    pub(crate) entry: Option<Entry>,
    pub(crate) state: State,
    process: Process,
    /// Whether the node has been in the directory.
    has_joined: bool,
    is_draining: bool,
    is_killed: bool,
    /// When the node entered its state.
    since: Instant,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum State {
    /// The node has not been in the directory yet.
    Starting,
    Ready,
    /// The node closes its connections, and then ends.
    Draining,
    /// The node runs, but its lease has ended.
    Lost,
    Ended(ExitStatus),
}

impl Node {
    pub(crate) fn start(number: usize, address: String, redis: &str, capacity: u32, log: PathBuf) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["node", &address, redis, &capacity.to_string()]);
        let process = Process::start(&command, log)?;
        Ok(Self {
            number,
            address,
            entry: None,
            state: State::Starting,
            process,
            has_joined: false,
            is_draining: false,
            is_killed: false,
            since: Instant::now(),
        })
    }

    pub(crate) fn runs(&self) -> bool {
        !matches!(self.state, State::Ended(_))
    }

    /// Drains the node. The signal is sent only once, because a second one would cut off the players. It is sent only
    /// after the node has joined the directory, because the node may not handle signals before.
    pub(crate) fn drain(&mut self) {
        if self.runs() && !self.is_killed && !mem::replace(&mut self.is_draining, true) {
            self.enter(State::Draining);
            if self.has_joined {
                self.process.signal(Signal::TERM);
            }
        }
    }

    pub(crate) fn kill(&mut self) {
        self.is_killed = true;
        self.process.signal(Signal::KILL);
    }

    /// Whether the node ended this long ago and is no longer in the directory.
    pub(crate) fn was_gone_for(&self, time: Duration) -> bool {
        !self.runs() && self.entry.is_none() && self.since.elapsed() > time
    }

    /// Whether the node ended before it had drained.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.is_draining && !matches!(self.state, State::Ended(status) if status.success())
    }

    /// Updates the node from its process and from the entries of the directory, which are `None` while Redis is away.
    /// Returns what has changed.
    pub(crate) fn look(&mut self, entries: Option<&mut Entries>) -> Result<Vec<String>> {
        let mut news = Vec::new();
        let was_known = self.entry.is_some();
        if let Some(entries) = entries {
            self.entry = entries.remove(&self.address);
            if self.entry.is_some() && !mem::replace(&mut self.has_joined, true) && self.is_draining {
                self.process.signal(Signal::TERM);
            }
        }
        let before = self.state;
        let state = match (self.process.ended()?, &self.entry) {
            (Some(status), _) => State::Ended(status),
            (None, _) if self.is_draining => State::Draining,
            (None, Some(entry)) if entry.lease <= 0 => State::Lost,
            (None, Some(entry)) if entry.state == "draining" => State::Draining,
            (None, Some(_)) => State::Ready,
            (None, None) if !self.has_joined => State::Starting,
            // The node was drained by another program, has left the directory, and is about to end.
            (None, None) if before == State::Draining => State::Draining,
            (None, None) => State::Lost,
        };
        self.enter(state);
        if self.state != before {
            news.push(format!("node {} {}", self.number, self.describe_change(before)));
        }
        if !self.runs() && was_known && self.entry.is_none() {
            news.push(format!("node {} is out of the directory", self.number));
        }
        Ok(news)
    }

    fn enter(&mut self, state: State) {
        if self.state != state {
            self.state = state;
            self.since = Instant::now();
        }
    }

    fn describe_change(&self, before: State) -> String {
        match self.state {
            State::Starting => "starts".to_owned(),
            State::Ready if before == State::Lost => "is back".to_owned(),
            State::Ready => "accepts players".to_owned(),
            State::Draining => "drains: its players reconnect to other nodes".to_owned(),
            State::Lost => "has not renewed its lease".to_owned(),
            State::Ended(_) if self.is_killed => match &self.entry {
                Some(entry) if entry.lease > 0 => {
                    format!("is killed; its lease ends in {}", table::lease(entry.lease))
                }
                _ => "is killed".to_owned(),
            },
            State::Ended(status) if status.success() => "is gone".to_owned(),
            State::Ended(status) => format!("ended unexpectedly ({})", self.process.why(status)),
        }
    }
}
