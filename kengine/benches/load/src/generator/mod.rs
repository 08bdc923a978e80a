//! The load: clients on one thread, with one epoll.

mod answers;
mod connects;
mod fan_out;
mod idle;
mod meter;
mod socket;

use std::io;
use std::time::Duration;

pub use self::idle::State;
pub use self::meter::{Period, Sample};
use crate::process::Server;
use crate::wire::Dialect;

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
        match self {
            Self::Answers { connections, in_flight } => {
                answers::measure(server, dialect, connections, in_flight, period).map(Measured::Work)
            }
            Self::Connects { at_once } => connects::measure(server, dialect, at_once, period).map(Measured::Work),
            Self::FanOut { members, in_flight } => {
                fan_out::measure(server, dialect, members, in_flight, period).map(Measured::Work)
            }
            Self::Idle { connections, state } => idle::measure(server, dialect, connections, state)
                .map(|bytes_per_connection| Measured::Memory { bytes_per_connection }),
        }
    }
}
