//! Answers: each connection sends some messages in one write, and sends again when all are answered.

use std::io::{self, Error};
use std::time::Instant;

use mio::net::TcpStream;
use mio::{Events, Poll};

use super::meter::{Meter, Period, Sample};
use super::{POLL_TIMEOUT, socket};
use crate::client;
use crate::process::Server;
use crate::wire::{Exchange, Progress};

struct Client {
    stream: TcpStream,
    sent: Instant,
    progress: Progress,
    awaited: usize,
}

/// Measures the answers to clients that have `in_flight` messages under way each.
pub fn measure(
    servers: &[Server],
    clients: Vec<client::Client>,
    chat: &Exchange,
    in_flight: usize,
    period: Period,
) -> io::Result<Sample> {
    let request = chat.request.repeat(in_flight);
    let mut poll = Poll::new()?;
    let start = |(token, client): (_, client::Client)| {
        let stream = socket::register(&poll, token, client.stream)?;
        Ok(Client { stream, sent: Instant::now(), progress: client.progress, awaited: in_flight })
    };
    let mut clients = clients.into_iter().enumerate().map(start).collect::<io::Result<Vec<_>>>()?;
    for client in &mut clients {
        client.sent = Instant::now();
        socket::write(&mut client.stream, &request)?;
    }
    let mut meter = Meter::start(servers, period);
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; socket::READ_SIZE];
    while meter.runs()? {
        poll.poll(&mut events, Some(POLL_TIMEOUT))?;
        for event in &events {
            let Client { stream, sent, progress, awaited } = &mut clients[event.token().0];
            socket::read(stream, &mut buffer, |bytes| {
                let answers = progress.take(bytes, &chat.answer).map_err(Error::other)?;
                if bytes.is_empty() || answers > *awaited {
                    return Err(Error::other("the server closed a connection, or sent too many answers"));
                }
                *awaited -= answers;
                // The clock is read only where it does not weigh: with one message under way.
                if in_flight == 1 && answers == 1 {
                    meter.count_since(*sent);
                } else {
                    meter.count(answers);
                }
                Ok(())
            })?;
            if *awaited == 0 {
                *awaited = in_flight;
                *sent = Instant::now();
                match progress.acknowledgement() {
                    Some(acknowledgement) => socket::write(stream, &[&acknowledgement, &*request].concat())?,
                    None => socket::write(stream, &request)?,
                }
            }
        }
    }
    meter.finish()
}
