//! Pings: idle clients that answer the pings of the server, and do nothing else.

use std::io::{self, Error};
use std::slice;

use mio::{Events, Poll};

use super::meter::{Meter, Period, Sample};
use super::{POLL_TIMEOUT, socket};
use crate::client::Client;
use crate::process::Server;
use crate::wire;

/// Measures pings, each with its answer.
pub fn measure(server: &Server, clients: Vec<Client>, period: Period) -> io::Result<Sample> {
    let ping = wire::ping();
    let mut poll = Poll::new()?;
    let start = |(token, client): (_, Client)| Ok((socket::register(&poll, token, client.stream)?, client.progress));
    let mut clients = clients.into_iter().enumerate().map(start).collect::<io::Result<Vec<_>>>()?;
    let mut meter = Meter::start(slice::from_ref(server), period);
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; socket::READ_SIZE];
    while meter.runs()? {
        poll.poll(&mut events, Some(POLL_TIMEOUT))?;
        for event in &events {
            let (stream, progress) = &mut clients[event.token().0];
            let mut pings = 0;
            socket::read(stream, &mut buffer, |bytes| {
                pings += progress.take(bytes, &ping.answer).map_err(Error::other)?;
                if bytes.is_empty() { Err(Error::other("the server closed a connection")) } else { Ok(()) }
            })?;
            for _ in 0..pings {
                socket::write(stream, &ping.request)?;
            }
            meter.count(pings);
        }
    }
    meter.finish()
}
