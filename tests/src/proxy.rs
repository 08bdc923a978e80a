//! A TCP proxy, usually between a node and Redis, that simulates network faults.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::sleep,
};

/// What the network does with the data that is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// Data arrives.
    #[default]
    Good,
    /// Each piece arrives this much later.
    Slow(Duration),
    /// Nothing arrives in either direction, and no connection is closed. New connections are accepted and are stalled
    /// too.
    Stalled,
    /// Requests arrive, answers do not.
    Mute,
    /// Open and new connections are reset.
    Refused,
}

/// What the network does, and what has happened to its connections.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    network: Network,
    /// How many times all connections were reset.
    resets: u64,
    /// How many times the subscribers that were connected have lost touch.
    losses: u64,
}

/// Counts of what clients have sent.
#[derive(Debug, Default)]
struct Asked {
    trips: AtomicUsize,
    commands: AtomicUsize,
}

/// A proxy that ends when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    asked: Arc<Asked>,
    serving: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy in front of the port of a Redis on this machine. It counts round trips and commands.
    pub async fn start(port: u16) -> Self {
        Self::launch(SocketAddr::from(([127, 0, 0, 1], 0)), port, true).await
    }

    /// Starts a proxy at this address, in front of a port of this machine, for any protocol. It counts nothing.
    pub async fn start_at(address: SocketAddr, port: u16) -> Self {
        Self::launch(address, port, false).await
    }

    async fn launch(address: SocketAddr, port: u16, counts: bool) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let state = watch::Sender::<State>::default();
        let asked = Arc::new(Asked::default());
        let serving = tokio::spawn(serve(listener, port, state.subscribe(), counts.then(|| Arc::clone(&asked))));
        Self { address, state, asked, serving }
    }

    /// Returns the address at which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns its address as a Redis URL.
    pub fn url(&self) -> String {
        format!("redis://{}/", self.address)
    }

    /// Changes the network, for open connections as well.
    pub fn set(&self, network: Network) {
        self.state.send_modify(|state| state.network = network);
    }

    /// Resets every open connection.
    pub fn reset(&self) {
        self.state.send_modify(|state| state.resets += 1);
    }

    /// From now on, nothing arrives over the open connections that have subscribed to a channel of Redis. They are not
    /// closed, and other and new connections are as before.
    pub fn lose_subscribers(&self) {
        self.state.send_modify(|state| state.losses += 1);
    }

    /// Returns the number of round trips of all clients. Commands that are sent together count as one.
    pub fn trips(&self) -> usize {
        self.asked.trips.load(Ordering::SeqCst)
    }

    /// Returns how many commands the server was sent.
    pub fn commands(&self) -> usize {
        self.asked.commands.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, port: u16, state: watch::Receiver<State>, asked: Option<Arc<Asked>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                connections.spawn(connection(client, port, state.clone(), asked.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection until it is reset or either side closes it.
async fn connection(client: TcpStream, port: u16, state: watch::Receiver<State>, asked: Option<Arc<Asked>>) {
    // With this setting, dropping the socket resets it instead of closing it.
    let _ = client.set_zero_linger();
    let begun = *state.borrow();
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true), server.set_zero_linger());
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // A round trip begins with the first piece that a client sends after an answer.
    let answered = AtomicUsize::new(1);
    let mut commands = Commands::default();
    let subscribes = AtomicBool::new(false);
    let count = |bytes: &[u8]| {
        subscribes.fetch_or(bytes.windows(9).any(|command| command == b"SUBSCRIBE"), Ordering::SeqCst);
        let Some(asked) = &asked else { return };
        asked.trips.fetch_add(answered.swap(0, Ordering::SeqCst), Ordering::SeqCst);
        asked.commands.fetch_add(commands.count(bytes), Ordering::SeqCst);
    };
    let answer = |_: &[u8]| answered.store(1, Ordering::SeqCst);
    let mut ended = state.clone();
    let brings_requests = |state: &State| state.network != Network::Stalled;
    let brings_answers = |state: &State| {
        let is_lost = state.losses > begun.losses && subscribes.load(Ordering::SeqCst);
        !is_lost && !matches!(state.network, Network::Stalled | Network::Mute)
    };
    tokio::select! {
        () = carry(from_client, to_server, state.clone(), brings_requests, count) => {}
        () = carry(from_server, to_client, state, brings_answers, answer) => {}
        _ = ended.wait_for(|state| state.network == Network::Refused || state.resets > begun.resets) => {}
    }
}

/// Carries data in one direction while the network brings it.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    brings: impl Fn(&State) -> bool,
    mut passed: impl FnMut(&[u8]),
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        if state.wait_for(&brings).await.is_err() {
            return;
        }
        let now = state.borrow().network;
        if let Network::Slow(by) = now {
            sleep(by).await;
        }
        passed(&buffer[..read]);
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// Counts the commands that a client sends: arrays of bulk strings, split anywhere.
#[derive(Debug, Default)]
struct Commands {
    line: Vec<u8>,
    /// The bytes that are left of a string, with its line break.
    string: usize,
}

impl Commands {
    fn count(&mut self, mut bytes: &[u8]) -> usize {
        let mut commands = 0;
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.string > 0 {
                let skipped = self.string.min(bytes.len());
                self.string -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            bytes = rest;
            self.line.push(byte);
            if byte == b'\n' {
                let line = String::from_utf8_lossy(&self.line).into_owned();
                self.line.clear();
                match line.as_bytes()[0] {
                    b'*' => commands += 1,
                    b'$' => self.string = line[1..].trim().parse::<usize>().expect("a length") + 2,
                    other => panic!("no command begins with {other}"),
                }
            }
        }
        commands
    }
}
