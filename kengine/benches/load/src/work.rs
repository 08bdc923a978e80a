//! A fixed amount of work for a server, so that what it costs can be counted.

use std::io::{self, Error, Read, Write};
use std::thread::sleep;
use std::time::Duration;

use crate::client::{self, Client};
use crate::process::Server;
use crate::wire::{self, Dialect, Exchange};

/// What the clients do.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Rounds of answers. Each client has so many messages in flight.
    Answers { in_flight: usize },
    /// Rounds of pushes to a room. A client that is no member has so many in flight.
    FanOut { in_flight: usize },
    /// Clients connect, send a message, and close, one after another.
    Connects,
}

/// Calls the function that lets clients send the requests of a round.
pub type Sending<'a> = &'a dyn Fn(&mut dyn FnMut() -> io::Result<()>) -> io::Result<()>;

/// How many clients send messages.
pub const CLIENTS: usize = 64;
const MEMBERS: usize = 1000;
/// After this time a server has acknowledged every message.
const ACKNOWLEDGED_AFTER: Duration = Duration::from_secs(6);

impl Work {
    /// How many messages, deliveries or connections one time is.
    pub fn units(self) -> usize {
        match self {
            Self::Answers { in_flight } => CLIENTS * in_flight,
            Self::FanOut { in_flight } => MEMBERS * in_flight,
            Self::Connects => 1,
        }
    }

    /// Does the work this many times, and awaits every answer. Returns the clients that are still connected.
    pub fn run(self, server: &Server, dialect: Dialect, times: usize, sending: Sending<'_>) -> io::Result<Vec<Client>> {
        match self {
            Self::Answers { in_flight } => {
                let chats: Vec<_> = (0..CLIENTS).map(|_| repeated(&dialect.chat(), in_flight)).collect();
                answers(server, dialect, &chats, times, sending)
            }
            Self::FanOut { in_flight } => fan_out(server, dialect, in_flight, times, sending),
            Self::Connects => connects(server, dialect, times).map(|()| Vec::new()),
        }
    }
}

fn repeated(exchange: &Exchange, times: usize) -> Exchange {
    Exchange { request: exchange.request.repeat(times), answer: exchange.answer.repeat(times) }
}

/// Lets a client for each of these exchanges send its request, in each round, and awaits the answers.
pub fn answers(
    server: &Server,
    dialect: Dialect,
    exchanges: &[Exchange],
    rounds: usize,
    sending: Sending<'_>,
) -> io::Result<Vec<Client>> {
    let connect = |number| client::connect(server.port, dialect, &format!("player-{number}"));
    let mut clients = (0..exchanges.len()).map(connect).collect::<io::Result<Vec<_>>>()?;
    for _ in 0..rounds {
        sending(&mut || clients.iter_mut().zip(exchanges).try_for_each(|(client, one)| client.send(one)))?;
        for (client, exchange) in clients.iter_mut().zip(exchanges) {
            client.expect(exchange)?;
        }
    }
    Ok(clients)
}

fn fan_out(
    server: &Server,
    dialect: Dialect,
    in_flight: usize,
    rounds: usize,
    sending: Sending<'_>,
) -> io::Result<Vec<Client>> {
    let (join, says) = (dialect.join(), repeated(&dialect.say(), in_flight));
    let mut members = Vec::with_capacity(MEMBERS);
    for number in 0..MEMBERS {
        let mut member = client::connect(server.port, dialect, &format!("player-{number}"))?;
        member.ask(&join)?;
        members.push(member);
    }
    if dialect == Dialect::Resuming {
        // Until then each push would find a message that the server has not acknowledged yet.
        sleep(ACKNOWLEDGED_AFTER);
    }
    let mut sender = client::connect(server.port, dialect, "sender")?;
    for _ in 0..rounds {
        sending(&mut || sender.stream.write_all(&says.request))?;
        for member in &mut members {
            member.expect(&says)?;
            member.acknowledge()?;
        }
    }
    members.push(sender);
    Ok(members)
}

fn connects(server: &Server, dialect: Dialect, times: usize) -> io::Result<()> {
    let (chat, close) = (dialect.chat(), wire::close());
    for number in 0..times {
        let mut client = client::connect(server.port, dialect, &format!("player-{number}"))?;
        client.ask(&chat)?;
        client.ask(&close)?;
        if client.stream.read(&mut [0])? != 0 {
            return Err(Error::other("the server sent something after its close frame"));
        }
    }
    Ok(())
}
