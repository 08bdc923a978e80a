//! The cluster: Redis, nginx, and nodes that can be added and removed.

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

/// How often the nodes are checked.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The maximum number of running nodes.
const MAX_NODES: usize = 16;
/// How long nodes may take to drain. This is longer than their own drain timeout.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a node is shown after its end.
const SHOWN_FOR: Duration = Duration::from_secs(10);

/// What happened, and how long after the start.
pub(crate) type Event = (Duration, String);

pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) events: Vec<Event>,
    /// Whether Redis does not answer. If so, the entries of the nodes are outdated.
    pub(crate) is_away: bool,
    capacity: u32,
    /// The number of the last node that was started.
    last_number: usize,
    directory: Directory,
    begun: Instant,
    /// When the drain of all nodes began.
    ending: Option<Instant>,
    /// Declared after the nodes and before the folder, because fields are dropped in the order of their declaration.
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
            last_number: 0,
            directory,
            begun: Instant::now(),
            ending: None,
            servers,
            folder,
        };
        cluster.note(format!("open http://{}/ in a few browser tabs and chat", cluster.servers.reachable()));
        for _ in 0..size.nodes {
            cluster.start_node()?;
        }
        Ok(cluster)
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Whether the cluster is ending and every node has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.is_ending() && self.nodes.iter().all(|node| !node.runs())
    }

    pub(crate) fn note(&mut self, what: impl Into<String>) {
        self.events.push((self.begun.elapsed(), what.into()));
    }

    pub(crate) fn add(&mut self) {
        if self.is_ending() {
            self.note("cannot add a node: all nodes are draining");
        } else if self.nodes.iter().filter(|node| node.runs()).count() == MAX_NODES {
            self.note(format!("cannot add a node: {MAX_NODES} is the maximum"));
        } else if let Err(error) = self.start_node() {
            self.note(format!("cannot add a node: {error:#}"));
        }
    }

    /// Kills a node, by default the first one that runs. Neither its players nor the directory are notified.
    pub(crate) fn kill(&mut self, number: Option<usize>) {
        if let Some(node) = self.running(number) {
            node.kill();
        }
    }

    /// Drains a node, by default the first one that runs. Its players reconnect to other nodes.
    pub(crate) fn drain(&mut self, number: Option<usize>) {
        if let Some(node) = self.running(number) {
            node.drain();
            let what = format!("node {} drains: its players reconnect to other nodes", node.number);
            self.note(what);
        }
    }

    /// Drains all nodes, or kills them if that has already begun.
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

    /// Checks the processes and the directory, and records changes as events.
    pub(crate) async fn look(&mut self) -> Result<()> {
        if self.ending.is_some_and(|since| since.elapsed() > DRAIN_TIMEOUT) {
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

    /// Waits until the nodes have drained, then ends Redis and nginx.
    pub(crate) async fn end(mut self) -> Result<()> {
        self.drain_all();
        while !self.has_ended() {
            self.look().await?;
            sleep(LOOK_EVERY).await;
        }
        self.servers.end().await?;
        if self.nodes.iter().any(Node::is_cut_off) {
            bail!("some nodes ended before they had drained");
        }
        Ok(())
    }

    fn start_node(&mut self) -> Result<()> {
        let number = self.last_number + 1;
        let address = free(ANY)?.to_string();
        let log = self.folder.path().join(format!("node-{number}.txt"));
        self.nodes.push(Node::start(number, address, &self.servers.redis, self.capacity, log)?);
        self.last_number = number;
        Ok(())
    }

    fn running(&mut self, number: Option<usize>) -> Option<&mut Node> {
        let matches = |node: &Node| node.runs() && number.is_none_or(|number| number == node.number);
        let index = self.nodes.iter().position(matches);
        if index.is_none() {
            self.note(number.map_or("no node runs".to_owned(), |number| format!("no node {number} runs")));
        }
        index.map(|index| &mut self.nodes[index])
    }
}
