//! Fan-out: a client that is no member sends pushes to a room in one write, and sends again when all members have them.

use std::io::{self, Error, Write};

use mio::{Events, Poll};

use super::meter::{Meter, Period, Sample};
use super::{POLL_TIMEOUT, socket};
use crate::client;
use crate::process::Server;
use crate::wire::{Dialect, Progress};

/// Measures deliveries to `members`, with `in_flight` pushes under way.
pub fn measure(
    server: &Server,
    dialect: Dialect,
    members: usize,
    in_flight: usize,
    period: Period,
) -> io::Result<Sample> {
    let (join, say) = (dialect.join(), dialect.say());
    let request = say.request.repeat(in_flight);
    let mut poll = Poll::new()?;
    let mut clients = Vec::with_capacity(members);
    for token in 0..members {
        let mut stream = client::connect(server.port, dialect, &format!("player-{token}"))?;
        client::ask(&mut stream, &join)?;
        clients.push((socket::register(&poll, token, stream)?, Progress::default()));
    }
    let mut sender = client::connect(server.port, dialect, "sender")?;
    let mut meter = Meter::start(server, period);
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; socket::READ_SIZE];
    let mut awaited = 0;
    while meter.runs()? {
        if awaited == 0 {
            sender.write_all(&request)?;
            awaited = members * in_flight;
        }
        poll.poll(&mut events, Some(POLL_TIMEOUT))?;
        for event in &events {
            let (stream, progress) = &mut clients[event.token().0];
            socket::read(stream, &mut buffer, |bytes| {
                let pushes = progress.take(bytes, &say.answer).map_err(Error::other)?;
                if bytes.is_empty() || pushes > awaited {
                    return Err(Error::other("the server closed a connection, or delivered a push twice"));
                }
                awaited -= pushes;
                meter.count(pushes);
                Ok(())
            })?;
        }
    }
    meter.finish()
}
