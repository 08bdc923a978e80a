//! A model of a session whose connections are cut anywhere: after any byte, in either direction, while it is resumed
//! too. Both sides must end with exactly the messages that were sent, once and in order.
//!
//! Faults can be planted, so that it is known that the model finds them.

use std::collections::{BTreeMap, HashSet};

use super::{Exchange, KeyedFrame, Token, Tokens};
use crate::protocol::push::PushKey;

const SCHEDULES: u64 = 100_000;
/// How many schedules may pass until a planted fault is found.
const UNTIL_FOUND: u64 = 10_000;
/// The steps of a schedule, after which everything that is sent arrives.
const STEPS: u64 = 40;

/// What one side does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Each side says that it has received one message more than it has.
    CountsOneMore,
    /// Each side says that it has received one message less than it has.
    CountsOneLess,
    /// The client acknowledges a message before it has come.
    AcknowledgesAhead,
    /// The server counts a message of which half has come.
    CountsHalf,
    /// The server counts heartbeats.
    CountsHeartbeats,
    /// The server goes on with the rest of a message that came over the connection before.
    KeepsHalf,
    /// A token is used up before the client can have got the next one.
    UsesUpTokens,
    /// The server sends nothing again.
    SendsNothingAgain,
}

const FAULTS: [Fault; 8] = [
    Fault::CountsOneMore,
    Fault::CountsOneLess,
    Fault::AcknowledgesAhead,
    Fault::CountsHalf,
    Fault::CountsHeartbeats,
    Fault::KeepsHalf,
    Fault::UsesUpTokens,
    Fault::SendsNothingAgain,
];

/// Random numbers from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).unwrap()
    }

    fn is_one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }
}

const DATA: u8 = b'd';
const ACK: u8 = b'a';
const HEARTBEAT: u8 = b'p';
const REQUEST: u8 = b'?';
const ANSWER: u8 = b'!';

/// A message on the wire as a frame: a kind and two numbers, whose meaning depends on the kind, and padding, so that
/// messages have different lengths.
fn encode(kind: u8, first: u64, second: u64, padding: usize) -> Vec<u8> {
    let mut bytes = vec![0x82, u8::try_from(17 + padding).unwrap(), kind];
    bytes.extend(first.to_be_bytes());
    bytes.extend(second.to_be_bytes());
    bytes.resize(bytes.len() + padding, 0xee);
    bytes
}

/// Removes the first message from the bytes if it is complete.
fn decode(bytes: &mut Vec<u8>) -> Option<(u8, u64, u64)> {
    let length = 2 + usize::from(*bytes.get(1)?);
    if bytes.len() < length {
        return None;
    }
    let message: Vec<_> = bytes.drain(..length).collect();
    let number = |at: usize| u64::from_be_bytes(message.get(at..at + 8).unwrap_or(&[0; 8]).try_into().unwrap());
    Some((message.get(2).copied().unwrap_or_default(), number(3), number(11)))
}

/// One side of the session, and what its application has sent and got.
#[derive(Default)]
struct Side {
    exchange: Exchange,
    /// The start of a message that has not come whole.
    partial: Vec<u8>,
    sent: u64,
    /// The numbers and the keys of the messages that were handled.
    got: Vec<(u64, u64)>,
    /// The key of each `latest` push that was sent, and the last push of each key.
    keys: BTreeMap<u64, u64>,
    last_of_key: BTreeMap<u64, u64>,
}

impl Side {
    /// Sends a message of the application, whose key is 0 if it is not a `latest` push.
    fn send(&mut self, key: u64, padding: usize, out: &mut Vec<u8>) {
        self.sent += 1;
        let frame = encode(DATA, self.sent, key, padding);
        out.extend_from_slice(&frame);
        let key = (key > 0).then(|| {
            self.keys.insert(self.sent, key);
            self.last_of_key.insert(key, self.sent);
            PushKey::from(key.to_be_bytes())
        });
        match key {
            Some(key) => self.exchange.record_sent(KeyedFrame::shared(frame, Some(key), ())),
            None => self.exchange.record_copies(&frame, b"p"),
        }
    }

    /// Whether a message is a `latest` push that a newer one has replaced.
    fn is_replaced(&self, number: u64) -> bool {
        self.keys.get(&number).is_some_and(|key| self.last_of_key[key] > number)
    }

    /// Acknowledges what was received and, by a fault, more.
    fn acknowledge(&mut self, force: bool, ahead: u64, out: &mut Vec<u8>) {
        if (force || self.exchange.must_acknowledge())
            && let Some(received) = self.exchange.take_ack()
        {
            out.extend_from_slice(&encode(ACK, received + ahead, 0, 0));
        }
    }
}

struct Model {
    fault: Option<Fault>,
    server: Side,
    client: Side,
    tokens: Tokens,
    next_token: u64,
    /// The token that the client has.
    token: u64,
    /// Whether the client has a connection.
    is_connected: bool,
    /// Whether the client has got the first message of its connection.
    is_resumed: bool,
    /// Whether the server has got the request of the client's connection.
    is_taken_over: bool,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
}

impl Model {
    fn new(fault: Option<Fault>) -> Self {
        Self {
            fault,
            server: Side::default(),
            client: Side::default(),
            tokens: Tokens::new(Token::of_number(0)),
            next_token: 1,
            token: 0,
            is_connected: true,
            is_resumed: true,
            is_taken_over: true,
            to_server: Vec::new(),
            to_client: Vec::new(),
        }
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Returns the count that a side says, which a fault makes wrong.
    fn said(&self, received: u64) -> u64 {
        match self.fault {
            Some(Fault::CountsOneMore) => received + 1,
            Some(Fault::CountsOneLess) => received.saturating_sub(1),
            _ => received,
        }
    }

    /// Where the server's bytes go: nowhere while the client is away.
    fn server_out<'m>(&'m mut self, nowhere: &'m mut Vec<u8>) -> (&'m mut Side, &'m mut Vec<u8>) {
        (&mut self.server, if self.is_taken_over { &mut self.to_client } else { nowhere })
    }

    /// The client has lost its connection. Some of what was on its way to the server may still arrive.
    fn cut(&mut self, random: &mut Random) -> Result<(), String> {
        if self.is_connected {
            let arriving = random.below(self.to_server.len() + 1);
            self.deliver_to_server(arriving)?;
            let arriving = random.below(self.to_client.len() + 1);
            self.deliver_to_client(arriving)?;
            (self.is_connected, self.is_resumed, self.is_taken_over) = (false, false, false);
            self.to_server.clear();
            self.to_client.clear();
            self.client.partial.clear();
            // Otherwise the server notices only when the client comes back.
            if random.is_one_in(2) {
                self.end_input();
            }
        }
        Ok(())
    }

    fn end_input(&mut self) {
        if !self.has(Fault::KeepsHalf) {
            self.server.partial.clear();
        }
    }

    fn reconnect(&mut self) {
        if !self.is_connected {
            self.is_connected = true;
            let received = self.said(self.client.exchange.received());
            self.to_server.extend_from_slice(&encode(REQUEST, self.token, received, 0));
        }
    }

    fn deliver_to_server(&mut self, bytes: usize) -> Result<(), String> {
        if !self.is_taken_over {
            // A connection of its own, on which the server reads nothing but the request.
            let arrived = self.to_server[..bytes].to_vec();
            let mut request = arrived.clone();
            let Some((_, token, received)) = decode(&mut request) else {
                // It counts as arrived only when it is whole.
                return Ok(());
            };
            self.to_server.drain(..arrived.len() - request.len());
            return self.resume(token, received);
        }
        self.server.partial.extend_from_slice(&self.to_server[..bytes]);
        self.to_server.drain(..bytes);
        while let Some((kind, first, second)) = decode(&mut self.server.partial) {
            // The client sends nothing on a new connection before it has got the next token.
            self.tokens.confirm();
            match kind {
                DATA => {
                    self.server.exchange.record_received();
                    self.server.got.push((first, second));
                }
                ACK => self.server.exchange.acknowledge(first).map_err(|error| format!("{error:?} of the client"))?,
                HEARTBEAT if self.has(Fault::CountsHeartbeats) => self.server.exchange.record_received(),
                HEARTBEAT => {}
                _ => return Err(format!("the server cannot read {kind}")),
            }
        }
        if self.has(Fault::CountsHalf) && !self.server.partial.is_empty() {
            self.server.exchange.record_received();
        }
        Ok(())
    }

    /// The server has got the request to resume.
    fn resume(&mut self, used: u64, received: u64) -> Result<(), String> {
        self.end_input();
        let used = Token::of_number(used);
        if !self.tokens.valid().any(|valid| valid == used) {
            return Err("the token is not valid".to_owned());
        }
        if !self.server.exchange.resume(received, HashSet::new()) {
            return Err(format!("the client cannot have received {received} messages"));
        }
        self.tokens.renew(used, Token::of_number(self.next_token));
        if self.has(Fault::UsesUpTokens) {
            self.tokens.confirm();
        }
        self.is_taken_over = true;
        let received = self.said(self.server.exchange.received());
        self.to_client.extend_from_slice(&encode(ANSWER, self.next_token, received, 0));
        self.next_token += 1;
        if !self.has(Fault::SendsNothingAgain) {
            self.server.exchange.write_unacknowledged(&mut self.to_client);
        }
        Ok(())
    }

    fn deliver_to_client(&mut self, bytes: usize) -> Result<(), String> {
        self.client.partial.extend_from_slice(&self.to_client[..bytes]);
        self.to_client.drain(..bytes);
        while let Some((kind, first, second)) = decode(&mut self.client.partial) {
            match kind {
                DATA => {
                    self.client.exchange.record_received();
                    self.client.got.push((first, second));
                }
                ACK => self.client.exchange.acknowledge(first).map_err(|error| format!("{error:?} of the server"))?,
                ANSWER => {
                    self.token = first;
                    if !self.client.exchange.resume(second, HashSet::new()) {
                        return Err(format!("the server cannot have received {second} messages"));
                    }
                    self.is_resumed = true;
                    self.client.exchange.write_unacknowledged(&mut self.to_server);
                }
                _ => return Err(format!("the client cannot read {kind}")),
            }
        }
        Ok(())
    }

    fn step(&mut self, random: &mut Random) -> Result<(), String> {
        let padding = random.below(8);
        match random.below(16) {
            0..4 => {
                let key = if random.is_one_in(4) { 1 + random.below(3) as u64 } else { 0 };
                let mut nowhere = Vec::new();
                let (server, out) = self.server_out(&mut nowhere);
                server.send(key, padding, out);
            }
            // Without a connection the application's messages wait.
            4..8 => {
                let mut nowhere = Vec::new();
                let out = if self.is_resumed { &mut self.to_server } else { &mut nowhere };
                self.client.send(0, padding, out);
            }
            8 => {
                let (force, mut nowhere) = (random.is_one_in(2), Vec::new());
                if self.is_taken_over {
                    let (server, out) = self.server_out(&mut nowhere);
                    server.acknowledge(force, 0, out);
                }
            }
            9 => {
                let (force, ahead) = (random.is_one_in(2), u64::from(self.has(Fault::AcknowledgesAhead)));
                if self.is_resumed {
                    self.client.acknowledge(force, ahead, &mut self.to_server);
                }
            }
            10 if self.is_resumed => self.to_server.extend_from_slice(&encode(HEARTBEAT, 0, 0, 0)),
            10 => {}
            11..13 => {
                let bytes = random.below(self.to_server.len() + 1);
                self.deliver_to_server(bytes)?;
            }
            13 => {
                let bytes = random.below(self.to_client.len() + 1);
                self.deliver_to_client(bytes)?;
            }
            14 => self.cut(random)?,
            _ => self.reconnect(),
        }
        Ok(())
    }

    /// Runs one schedule. Returns what went wrong.
    fn run(mut self, seed: u64) -> Result<(), String> {
        let mut random = Random(seed);
        for _ in 0..STEPS {
            self.step(&mut random)?;
        }
        if random.is_one_in(100) {
            // A hundred cuts in a row, before anything new is sent.
            for _ in 0..100 {
                self.reconnect();
                let (to_server, to_client) = (self.to_server.len(), self.to_client.len());
                self.deliver_to_server(to_server)?;
                self.deliver_to_client(random.below(to_client + 1))?;
                self.cut(&mut random)?;
            }
        }
        self.reconnect();
        while !self.to_server.is_empty() || !self.to_client.is_empty() {
            self.deliver_to_server(self.to_server.len())?;
            self.deliver_to_client(self.to_client.len())?;
        }
        check(&self.client, &self.server).map_err(|error| format!("to the server: {error}"))?;
        check(&self.server, &self.client).map_err(|error| format!("to the client: {error}"))
    }
}

/// Checks that everything that one side has sent was handled by the other, once and in order, except for `latest`
/// pushes that a newer one of their key has replaced.
fn check(from: &Side, to: &Side) -> Result<(), String> {
    if !to.got.is_sorted_by(|earlier, later| earlier.0 < later.0) {
        return Err(format!("twice or out of order: {:?}", to.got));
    }
    let mut got = to.got.iter().map(|(number, _)| *number).peekable();
    for number in 1..=from.sent {
        if got.next_if_eq(&number).is_none() && !from.is_replaced(number) {
            return Err(format!("{number} of {} is lost", from.sent));
        }
    }
    got.next().map_or(Ok(()), |number| Err(format!("{number} was never sent")))
}

#[test]
fn every_message_is_handled_once_and_in_order_however_the_connections_are_cut() {
    for seed in 0..SCHEDULES {
        if let Err(error) = Model::new(None).run(seed) {
            panic!("schedule {seed}: {error}");
        }
    }
}

#[test]
fn the_model_finds_planted_faults() {
    for fault in FAULTS {
        let found = (0..UNTIL_FOUND).find_map(|seed| Some((seed, Model::new(Some(fault)).run(seed).err()?)));
        let (seed, error) = found.unwrap_or_else(|| panic!("{fault:?} is not found"));
        println!("{fault:?} is found by schedule {seed}: {error}");
    }
}
