//! Connections: each client connects, sends a message, and closes when it is answered. Then the next one comes.

use std::io::{self, Error};
use std::slice;

use mio::net::TcpStream;
use mio::{Events, Poll};

use super::meter::{Meter, Period, Sample};
use super::{POLL_TIMEOUT, socket};
use crate::client;
use crate::process::Server;
use crate::wire::{self, Dialect, Exchange, Progress};

/// What a client waits for.
enum Awaited {
    /// The response to the handshake, whose beginning has come.
    Response(Vec<u8>),
    Answer(Progress),
    CloseFrame(Progress),
    /// The server closes the TCP connection first (RFC 6455, section 7.1.1).
    End,
    Nothing,
}

struct Client {
    stream: TcpStream,
    awaited: Awaited,
}

/// What every client sends.
struct Script {
    chat: Exchange,
    close: Exchange,
}

/// Measures connections, of which `at_once` are under way.
pub fn measure(server: &Server, dialect: Dialect, at_once: usize, period: Period) -> io::Result<Sample> {
    let script = Script { chat: dialect.chat(), close: wire::close() };
    let mut poll = Poll::new()?;
    let mut number = 0_u64;
    let mut connect = |poll: &Poll, token| {
        number += 1;
        let stream = client::connect_tcp(server.port)?;
        let mut stream = socket::register(poll, token, stream)?;
        let handshake = dialect.handshake(&format!("player-{number}"));
        let handshake = handshake.ok_or_else(|| Error::other("the server has no handshake"))?;
        socket::write(&mut stream, handshake.as_bytes())?;
        Ok::<_, Error>(Client { stream, awaited: Awaited::Response(Vec::new()) })
    };
    let mut clients = (0..at_once).map(|token| connect(&poll, token)).collect::<io::Result<Vec<_>>>()?;
    let mut meter = Meter::start(slice::from_ref(server), period);
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; socket::READ_SIZE];
    while meter.runs()? {
        poll.poll(&mut events, Some(POLL_TIMEOUT))?;
        for event in &events {
            let token = event.token().0;
            let client = &mut clients[token];
            client.advance(&script, &mut buffer)?;
            if let Awaited::Nothing = client.awaited {
                meter.count(1);
                *client = connect(&poll, token)?;
            }
        }
    }
    meter.finish()
}

impl Client {
    /// Reads what has come, and takes the next step.
    fn advance(&mut self, script: &Script, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            let mut read = 0;
            let mut ended = false;
            let awaited = &mut self.awaited;
            let mut request = None;
            socket::read(&mut self.stream, buffer, |bytes| {
                read = bytes.len();
                ended = bytes.is_empty();
                if !ended {
                    request = awaited.take(bytes, script)?;
                }
                Ok(())
            })?;
            if let Some(request) = request {
                socket::write(&mut self.stream, request)?;
            }
            match self.awaited {
                Awaited::End if ended => self.awaited = Awaited::Nothing,
                // The close frame and the end may come together, and then no other event comes.
                Awaited::End if read > 0 => continue,
                _ if ended => return Err(Error::other("the server closed a connection early")),
                _ => {}
            }
            return Ok(());
        }
    }
}

impl Awaited {
    /// Takes what came, and returns what the client sends next.
    fn take<'s>(&mut self, bytes: &[u8], script: &'s Script) -> io::Result<Option<&'s [u8]>> {
        match self {
            Self::Response(response) => {
                response.extend(bytes);
                if client::response_len(response)?.is_some() {
                    *self = Self::Answer(Progress::default());
                    return Ok(Some(&script.chat.request));
                }
            }
            Self::Answer(progress) => {
                if progress.take(bytes, &script.chat.answer).map_err(Error::other)? > 0 {
                    *self = Self::CloseFrame(Progress::default());
                    return Ok(Some(&script.close.request));
                }
            }
            Self::CloseFrame(progress) => {
                if progress.take(bytes, &script.close.answer).map_err(Error::other)? > 0 {
                    *self = Self::End;
                }
            }
            Self::End | Self::Nothing => return Err(Error::other("the server sent something after its close frame")),
        }
        Ok(None)
    }
}
