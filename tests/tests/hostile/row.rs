//! One misbehaviour: its steps, what the client sees, and what the node holds meanwhile.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use kengine::Server;
use kengine_tests::{ClientFrame, End, Fortress, HttpClient, RawClient, Upgrade, connect_from};

/// The pause between the bytes of a client that drips.
const DRIP: Duration = Duration::from_millis(20);
/// The opcode of a ping.
pub(crate) const PING: u8 = 0x9;
/// Where misbehaving clients connect from, unless a row says otherwise.
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// What a client does.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Opens a socket. The next steps use it; the others stay open.
    Socket,
    /// Opens this many sockets, and uses the last one.
    Sockets(usize),
    /// Opens a connection with this path, which must be accepted.
    Open(String),
    /// Asks for a connection with this path on a socket of its own; the answer is seen.
    Ask(String),
    /// Asks for a connection on every socket, and sees each different answer once, in alphabetical order.
    AskOnAll,
    /// Sends bytes at once, to a server that may end the connection.
    Send(Vec<u8>),
    /// Sends bytes one by one until the server ends the connection, and sees whatever comes.
    Drip(Vec<u8>),
    /// Sees this many answers or frames.
    See(usize),
    /// Sees everything up to the end of TCP.
    SeeAll,
    /// Like `SeeAll`, but sees each different thing only once.
    SeeKinds,
    /// Like `SeeKinds`, of a client that has sent more than the server reads. The kernel may then reset TCP or not, so
    /// both ends are seen as `cut off`.
    SeeUntilCut,
    /// Goes back to an earlier socket: 0 is the first.
    Use(usize),
    /// Closes the writing side of TCP.
    StopWriting,
    /// Resets TCP.
    Reset,
}

/// How often a limit must be exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    Exactly(u64),
    /// At least once: the speed of the machine decides how often.
    Some,
}

impl Count {
    /// Returns how often at least.
    pub(crate) fn least(self) -> u64 {
        match self {
            Self::Exactly(count) => count,
            Self::Some => 1,
        }
    }

    /// Returns whether this is what was counted.
    pub(crate) fn is(self, counted: Option<u64>) -> bool {
        match self {
            Self::Exactly(count) => counted == Some(count),
            Self::Some => counted.is_some(),
        }
    }
}

/// One row of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The misbehaviour.
    pub(crate) what: &'static str,
    pub(crate) steps: Vec<Step>,
    /// What the client sees.
    pub(crate) sees: Vec<String>,
    /// The connections and rooms that the node holds while the client keeps its sockets open after its last step,
    /// unless the speed of the machine decides that.
    pub(crate) holds: Option<(usize, usize)>,
    /// The limits that the client exceeds, and how often.
    pub(crate) exceeds: Vec<(&'static str, Count)>,
    /// The server of this row, if its limits are not the defaults.
    pub(crate) server: Option<fn(Server<Fortress>) -> Server<Fortress>>,
}

/// Makes a row after which the node holds nothing and has counted no refusal.
pub(crate) fn row(what: &'static str, steps: impl Into<Vec<Step>>, sees: &[&str]) -> Row {
    let sees = sees.iter().map(|seen| (*seen).to_owned()).collect();
    Row { what, steps: steps.into(), sees, holds: Some((0, 0)), exceeds: Vec::new(), server: None }
}

impl Row {
    /// The node holds these connections and rooms.
    pub(crate) fn holds(self, connections: usize, rooms: usize) -> Self {
        Self { holds: Some((connections, rooms)), ..self }
    }

    /// The speed of the machine decides what the node holds.
    pub(crate) fn holds_any(self) -> Self {
        Self { holds: None, ..self }
    }

    /// The client exceeds this limit.
    pub(crate) fn exceeds(mut self, limit: &'static str, count: Count) -> Self {
        self.exceeds.push((limit, count));
        self
    }

    /// The server has these limits.
    pub(crate) fn on(self, server: fn(Server<Fortress>) -> Server<Fortress>) -> Self {
        Self { server: Some(server), ..self }
    }

    /// Takes the steps against a server. Returns the client, whose sockets are open as long as it exists.
    pub(crate) async fn attack(&self, server: SocketAddr, from: Option<Ipv4Addr>) -> Attacker {
        let mut attacker =
            Attacker { server, from: from.unwrap_or(HERE), sockets: Vec::new(), used: 0, seen: Vec::new() };
        for step in &self.steps {
            attacker.take(step).await;
        }
        attacker
    }
}

/// A misbehaving client.
#[derive(Debug)]
pub(crate) struct Attacker {
    server: SocketAddr,
    from: Ipv4Addr,
    sockets: Vec<Socket>,
    used: usize,
    pub(crate) seen: Vec<String>,
}

#[derive(Debug)]
enum Socket {
    Http(HttpClient),
    Connection(RawClient),
    /// It is reset.
    None,
}

impl Attacker {
    async fn take(&mut self, step: &Step) {
        match step {
            Step::Socket => self.connect().await,
            Step::Sockets(count) => {
                for _ in 0..*count {
                    self.connect().await;
                }
            }
            Step::Open(path) => {
                self.ask(path).await;
                // A server under a limit may refuse.
                if self.seen.last().is_some_and(|seen| seen == "101") {
                    self.seen.pop();
                }
            }
            Step::Ask(path) => self.ask(path).await,
            Step::AskOnAll => {
                for socket in 0..self.sockets.len() {
                    self.used = socket;
                    self.send(&Upgrade::new(self.server).bytes()).await;
                    self.see().await;
                }
                self.seen.sort();
                self.seen.dedup();
            }
            Step::Send(bytes) => self.send(bytes).await,
            Step::Drip(bytes) => self.drip(bytes).await,
            Step::See(count) => {
                for _ in 0..*count {
                    self.see().await;
                }
            }
            Step::SeeAll => while self.see().await {},
            Step::SeeKinds => self.see_kinds().await,
            Step::SeeUntilCut => {
                self.see_kinds().await;
                self.see_cut();
            }
            Step::Use(socket) => self.used = *socket,
            Step::StopWriting => match &mut self.sockets[self.used] {
                Socket::Http(http) => http.stop_writing().await,
                Socket::Connection(client) => client.stop_writing().await,
                Socket::None => {}
            },
            Step::Reset => {
                if let Socket::Connection(client) = std::mem::replace(&mut self.sockets[self.used], Socket::None) {
                    client.reset();
                }
            }
        }
    }

    async fn connect(&mut self) {
        let stream = connect_from(self.from, self.server).await;
        self.used = self.sockets.len();
        self.sockets.push(Socket::Http(HttpClient::over(stream)));
    }

    async fn ask(&mut self, path: &str) {
        self.connect().await;
        self.send(&Upgrade::new(self.server).path(path).bytes()).await;
        self.see().await;
    }

    async fn send(&mut self, bytes: &[u8]) {
        match &mut self.sockets[self.used] {
            Socket::Http(http) => http.try_send(bytes).await,
            Socket::Connection(client) => client.try_send(bytes).await,
            Socket::None => {}
        }
    }

    /// Sees each different thing up to the end of TCP.
    async fn see_kinds(&mut self) {
        let before = self.seen.len();
        loop {
            let goes_on = self.see().await;
            let (last, earlier) = self.seen.split_last().expect("it was just seen");
            if earlier[before..].contains(last) {
                self.seen.pop();
            }
            if !goes_on {
                return;
            }
        }
    }

    /// Sees the end of TCP as `cut off`, however it came.
    fn see_cut(&mut self) {
        self.seen.pop();
        self.seen.push("cut off".to_owned());
    }

    /// A byte that crosses the server's end of TCP is answered with a reset. So both ends are seen as `cut off`.
    async fn drip(&mut self, bytes: &[u8]) {
        let mut bytes = bytes.iter();
        let mut pause = Box::pin(tokio::time::sleep(DRIP));
        loop {
            let is_over = tokio::select! {
                goes_on = self.see() => !goes_on,
                () = &mut pause => {
                    let Some(byte) = bytes.next() else { return };
                    pause.set(tokio::time::sleep(DRIP));
                    self.send(&[*byte]).await;
                    false
                }
            };
            if is_over {
                self.see_cut();
                return;
            }
        }
    }

    /// Sees the next answer, frame or end of TCP. Returns whether more may come.
    async fn see(&mut self) -> bool {
        let seen = match &mut self.sockets[self.used] {
            Socket::Http(http) => match http.next(false).await {
                Ok(answer) => {
                    let code = if answer.body.starts_with('{') { answer.error_code() } else { String::new() };
                    if answer.status == 101 {
                        let Socket::Http(http) = std::mem::replace(&mut self.sockets[self.used], Socket::None) else {
                            unreachable!("it has just answered");
                        };
                        self.sockets[self.used] = Socket::Connection(http.into_websocket());
                    }
                    Ok(format!("{} {code}", answer.status).trim_end().to_owned())
                }
                Err(end) => Err(end),
            },
            Socket::Connection(client) => loop {
                match client.next().await {
                    // It answers none of the server's pings. How many come before its end depends on the machine.
                    Ok(frame) if frame.opcode == PING => {}
                    seen => break seen.map(|frame| frame.to_string()),
                }
            },
            Socket::None => Err(End::Reset),
        };
        let goes_on = seen.is_ok();
        self.seen.push(seen.unwrap_or_else(|end| end.to_string()));
        goes_on
    }
}

/// Returns the steps of a client that opens a connection, sends bytes at once and sees everything.
pub(crate) fn sends(bytes: impl Into<Vec<u8>>) -> [Step; 3] {
    [Step::Open("/ws".to_owned()), Step::Send(bytes.into()), Step::SeeAll]
}

/// Returns the steps of a client that opens a connection, sends a text and then a heartbeat, and sees two answers.
pub(crate) fn asks(text: impl AsRef<[u8]>) -> [Step; 3] {
    let frames = [ClientFrame::text(text), ClientFrame::text("p")];
    [Step::Open("/ws".to_owned()), Step::Send(kengine_tests::segment(frames)), Step::See(2)]
}
