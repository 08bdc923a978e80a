//! Fan-out: a client that is no member sends pushes to rooms in one write, and sends again when all members have them.

use std::io::{self, Error};
use std::slice;

use mio::{Events, Poll};

use super::meter::{Meter, Period, Sample};
use super::{POLL_TIMEOUT, socket};
use crate::client::Client;
use crate::process::Server;
use crate::wire::Exchange;

/// Measures deliveries to members. Each of them gets the answer `times` for each request of the sender.
pub fn measure(
    server: &Server,
    sender: Client,
    members: Vec<Client>,
    pushes: &Exchange,
    times: usize,
    period: Period,
) -> io::Result<Sample> {
    let mut poll = Poll::new()?;
    let start = |(token, client): (_, Client)| Ok((socket::register(&poll, token, client.stream)?, client.progress));
    let (mut sender, mut sent) = start((members.len(), sender))?;
    let mut members = members.into_iter().enumerate().map(start).collect::<io::Result<Vec<_>>>()?;
    let mut meter = Meter::start(slice::from_ref(server), period);
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; socket::READ_SIZE];
    let mut awaited = 0;
    while meter.runs()? {
        if awaited == 0 {
            socket::write(&mut sender, &pushes.request)?;
            awaited = members.len() * times;
        }
        poll.poll(&mut events, Some(POLL_TIMEOUT))?;
        for event in &events {
            let Some((stream, progress)) = members.get_mut(event.token().0) else {
                socket::read(&mut sender, &mut buffer, |bytes| sent.take_none(bytes).map_err(Error::other))?;
                continue;
            };
            socket::read(stream, &mut buffer, |bytes| {
                let pushes = progress.take(bytes, &pushes.answer).map_err(Error::other)?;
                if bytes.is_empty() || pushes > awaited {
                    return Err(Error::other("the server closed a connection, or delivered a push twice"));
                }
                awaited -= pushes;
                meter.count(pushes);
                Ok(())
            })?;
            if let Some(acknowledgement) = progress.acknowledgement() {
                socket::write(stream, &acknowledgement)?;
            }
        }
    }
    meter.finish()
}
