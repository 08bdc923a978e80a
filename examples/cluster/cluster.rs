//! The cluster: a Redis, an nginx, and nodes that come and go.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::time::sleep;

use crate::{
    arguments::Size,
    directory::Directory,
    node::Node,
    processes::{ANY, Folder, free},
    servers::Servers,
};

/// How often the nodes are looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How many nodes run at most.
const MOST: usize = 16;
/// How long nodes may take to drain: a little longer than they give themselves.
const DRAINED_WITHIN: Duration = Duration::from_secs(30);
/// How long a node that is gone is still shown.
const SHOWN_FOR: Duration = Duration::from_secs(10);

/// When something happened, since the beginning, and what.
pub(crate) type Event = (Duration, String);

pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) events: Vec<Event>,
    /// Redis does not answer: what is known of the nodes is as last seen.
    pub(crate) is_away: bool,
    capacity: u32,
    /// How many there have been.
    numbered: usize,
    directory: Directory,
    begun: Instant,
    /// Since when all nodes drain.
    ending: Option<Instant>,
    /// They outlive the nodes, and the folder all of them.
    pub(crate) servers: Servers,
    folder: Folder,
}

impl Cluster {
    pub(crate) async fn start(size: &Size) -> Result<Self> {
        let folder = Folder::new()?;
        let servers = Servers::start(size.listen, folder.path()).await?;
        let directory = Directory::new(&servers.redis)?;
        let mut cluster = Self {
            nodes: Vec::new(),
            events: Vec::new(),
            is_away: false,
            capacity: size.capacity,
            numbered: 0,
            directory,
            begun: Instant::now(),
            ending: None,
            servers,
            folder,
        };
        cluster.note(format!(
            "open http://{}/ in a few tabs of a browser, and talk",
            cluster.servers.reachable()
        ));
        for _ in 0..size.nodes {
            cluster.start_node()?;
        }
        Ok(cluster)
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Every node has ended, and is to.
    pub(crate) fn has_ended(&self) -> bool {
        self.is_ending() && self.nodes.iter().all(|node| !node.runs())
    }

    pub(crate) fn note(&mut self, what: impl Into<String>) {
        self.events.push((self.begun.elapsed(), what.into()));
    }

    pub(crate) fn add(&mut self) {
        if self.is_ending() {
            self.note("no node is added any more: all drain");
        } else if self.nodes.iter().filter(|node| node.runs()).count() == MOST {
            self.note(format!("{MOST} nodes are enough"));
        } else if let Err(error) = self.start_node() {
            self.note(format!("no node is added: {error:#}"));
        }
    }

    /// Kills a node, the first that runs unless it is said which: no player is told, nor is the directory.
    pub(crate) fn kill(&mut self, number: Option<usize>) {
        if let Some(node) = self.running(number) {
            node.kill();
        }
    }

    /// Tells a node to send its players to the others and to end; the first that runs unless it is said which.
    pub(crate) fn drain(&mut self, number: Option<usize>) {
        if let Some(node) = self.running(number) {
            node.drain();
            let what = format!("node {} drains: its players are sent to the others", node.number);
            self.note(what);
        }
    }

    /// Drains all, and when that has begun already, kills them.
    pub(crate) fn interrupt(&mut self) {
        if self.is_ending() {
            self.cut_off();
        } else {
            self.drain_all();
        }
    }

    pub(crate) fn drain_all(&mut self) {
        if self.ending.is_none() {
            self.ending = Some(Instant::now());
            self.nodes.iter_mut().for_each(Node::drain);
            self.note("all nodes drain; Ctrl-C again kills them");
        }
    }

    fn cut_off(&mut self) {
        self.nodes.iter_mut().filter(|node| node.runs()).for_each(Node::kill);
    }

    /// Looks at the processes and at the directory, and notes what has changed.
    pub(crate) async fn look(&mut self) -> Result<()> {
        if self.ending.is_some_and(|since| since.elapsed() > DRAINED_WITHIN) {
            self.cut_off();
        }
        let mut notes = self.servers.look()?;
        let mut entries = match self.directory.read().await {
            Ok(entries) => {
                if self.is_away {
                    notes.push("Redis is back".to_owned());
                }
                Some(entries)
            }
            Err(error) => {
                if !self.is_away {
                    notes.push(format!("Redis is away: {error}"));
                }
                None
            }
        };
        self.is_away = entries.is_none();
        for node in &mut self.nodes {
            notes.extend(node.look(entries.as_mut())?);
        }
        for what in notes {
            self.note(what);
        }
        if !self.is_ending() {
            self.nodes.retain(|node| !node.was_gone_for(SHOWN_FOR));
        }
        Ok(())
    }

    /// Waits until the nodes have drained; then ends the servers.
    pub(crate) async fn end(mut self) -> Result<()> {
        self.drain_all();
        while !self.has_ended() {
            self.look().await?;
            sleep(LOOK_EVERY).await;
        }
        self.servers.end().await?;
        if self.nodes.iter().any(Node::is_cut_off) {
            bail!("nodes ended before all of their players had been sent away");
        }
        Ok(())
    }

    fn start_node(&mut self) -> Result<()> {
        let number = self.numbered + 1;
        let address = free(ANY)?.to_string();
        let log = self.folder.path().join(format!("node-{number}.txt"));
        self.nodes.push(Node::start(number, address, &self.servers.redis, self.capacity, log)?);
        self.numbered = number;
        Ok(())
    }

    fn running(&mut self, number: Option<usize>) -> Option<&mut Node> {
        let is_meant = |node: &Node| node.runs() && number.is_none_or(|number| number == node.number);
        let index = self.nodes.iter().position(is_meant);
        if index.is_none() {
            self.note(number.map_or("no node runs".to_owned(), |number| format!("no node {number} runs")));
        }
        index.map(|index| &mut self.nodes[index])
    }
}
