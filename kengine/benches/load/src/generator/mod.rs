//! The load: clients on one thread, with one epoll.

pub mod answers;
mod connects;
pub mod fan_out;
pub mod idle;
mod kernel_memory;
mod meter;
pub mod pings;
mod socket;

use std::time::Duration;
use std::{io, slice};

pub use self::idle::State;
pub use self::meter::{Period, Sample};
use crate::client::{self, Client};
use crate::process::Server;
use crate::wire::{Dialect, Exchange};

/// How long the generator waits for a socket before it looks at the clock.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);

/// What the clients do.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    Answers { connections: usize, in_flight: usize },
    Connects { at_once: usize },
    FanOut { members: usize, in_flight: usize },
    Idle { connections: usize, state: State },
}

/// What was measured.
#[derive(Clone, Copy, Debug, serde::Serialize)]
#[serde(untagged)]
pub enum Measured {
    Work(Sample),
    /// The memory per idle connection, in bytes.
    Memory {
        bytes_per_connection: f64,
    },
}

impl Load {
    /// Puts the load on a server, and measures what it costs.
    pub fn measure(self, server: &Server, dialect: Dialect, period: Period) -> io::Result<Measured> {
        let servers = slice::from_ref(server);
        let connect = |number| client::connect(server.port, dialect, &format!("player-{number}"));
        match self {
            Self::Answers { connections, in_flight } => {
                let clients = (0..connections).map(connect).collect::<io::Result<_>>()?;
                answers::measure(servers, clients, &dialect.chat(), in_flight, period).map(Measured::Work)
            }
            Self::Connects { at_once } => connects::measure(server, dialect, at_once, period).map(Measured::Work),
            Self::FanOut { members, in_flight } => {
                let (join, say) = (dialect.join(), dialect.say());
                let join = |number| after(connect(number)?, &join);
                let members = (0..members).map(join).collect::<io::Result<_>>()?;
                let sender = client::connect(server.port, dialect, "sender")?;
                let pushes = Exchange { request: say.request.repeat(in_flight), ..say };
                fan_out::measure(server, sender, members, &pushes, in_flight, period).map(Measured::Work)
            }
            Self::Idle { connections, state } => {
                let join = dialect.join();
                let chat = if state == State::AfterLargeMessage { dialect.large_chat() } else { dialect.chat() };
                let footprint = idle::measure(servers, connections, |number| match state {
                    State::Alone => connect(number),
                    State::InRoom | State::AfterLargeMessage => after(after(connect(number)?, &join)?, &chat),
                });
                footprint.map(|footprint| Measured::Memory { bytes_per_connection: footprint.user })
            }
        }
    }
}

/// Lets a client send a request and read its answer, before it does what is measured.
pub fn after(mut client: Client, exchange: &Exchange) -> io::Result<Client> {
    client.ask(exchange)?;
    Ok(client)
}
