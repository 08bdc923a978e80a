//! The bytes of the load: what a client sends, and what must come back.

/// What a server speaks, and how it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The bytes come back as they are, without WebSocket.
    RawEcho,
    /// Each message comes back.
    Echo,
    /// The game: `{"method":…,"message":…}`.
    Game,
    /// The game with clients that can resume their sessions: they count what comes, and acknowledge it.
    Resuming,
    /// The game with the events of Socket.IO.
    SocketIo,
}

/// A request, and the bytes that must come back: to its client, or if it is a push, to each member.
#[derive(Debug)]
pub struct Exchange {
    pub request: Vec<u8>,
    pub answer: Vec<u8>,
}

/// 100 bytes as a message of the game.
const GREETING: &str = "hello to all of you";
const CONTEXT: &str = "lobby-7, near an old gate";
const TEXT: &str = "hello to all of you, and to those near the old gate";

/// The size of a large message in bytes. kengine accepts no larger ones by default.
const LARGE_MESSAGE_SIZE: usize = 64 * 1024;

/// How the client says that it can resume its session.
const RESUMING_OFFER: &str = "Sec-WebSocket-Protocol: kengine.v1.resume.json\r\n";
/// After how many received messages a client acknowledges them.
const ACK_EVERY: u64 = 64;
/// The start of an acknowledgement of the server.
const ACK: &[u8] = br#"{"ack":"#;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// These stand in place of a length that takes 2 or 8 bytes.
const LEN_OF_2_BYTES: u8 = 0x7e;
const LEN_OF_8_BYTES: u8 = 0x7f;
const TEXT_FRAME: u8 = 0x81;
const CLOSE_FRAME: u8 = 0x88;
const PING_FRAME: u8 = 0x89;
const PONG_FRAME: u8 = 0x8a;
const EMPTY_PING: [u8; 2] = [PING_FRAME, 0];
const MASKED: u8 = 0x80;
/// A normal closure (RFC 6455, section 7.4.1).
const NORMAL_CLOSURE: [u8; 2] = 1000_u16.to_be_bytes();

impl Dialect {
    /// The request of a handshake, if there is one.
    pub fn handshake(self, uid: &str) -> Option<String> {
        let path = match self {
            Self::RawEcho => return None,
            Self::Echo | Self::Game | Self::Resuming => format!("/ws?uid={uid}"),
            Self::SocketIo => "/socket.io/?EIO=4&transport=websocket".to_owned(),
        };
        let offer = if self == Self::Resuming { RESUMING_OFFER } else { "" };
        Some(format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{offer}\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ))
    }

    /// A chat message of about 100 bytes.
    pub fn chat(self) -> Exchange {
        self.chat_with(CONTEXT)
    }

    /// A chat message of 64 KiB.
    pub fn large_chat(self) -> Exchange {
        let rest = self.chat_message("").len();
        self.chat_with(&"x".repeat(LARGE_MESSAGE_SIZE - rest))
    }

    /// A client joins the room.
    pub fn join(self) -> Exchange {
        match self {
            Self::RawEcho | Self::Echo => self.echo(r#"{"method":"join"}"#),
            Self::Game | Self::Resuming => exchange(r#"{"method":"join"}"#, "true"),
            Self::SocketIo => exchange(r#"42["join"]"#, r#"42["join",true]"#),
        }
    }

    /// A client sends a push to the room.
    pub fn say(self) -> Exchange {
        match self {
            Self::RawEcho | Self::Echo => self.echo(TEXT),
            Self::Game | Self::Resuming => {
                let [say, said] =
                    ["say", "said"].map(|method| format!(r#"{{"method":"{method}","message":{{"text":"{TEXT}"}}}}"#));
                exchange(&say, &said)
            }
            Self::SocketIo => {
                let [say, said] = ["say", "said"].map(|event| format!(r#"42["{event}",{{"text":"{TEXT}"}}]"#));
                exchange(&say, &said)
            }
        }
    }

    fn chat_with(self, context: &str) -> Exchange {
        let message = self.chat_message(context);
        match self {
            Self::RawEcho | Self::Echo => self.echo(&message),
            Self::Game | Self::Resuming => exchange(&message, &format!(r#""hey, you said: {GREETING}""#)),
            Self::SocketIo => exchange(&message, &format!(r#"42["chat","hey, you said: {GREETING}"]"#)),
        }
    }

    fn chat_message(self, context: &str) -> String {
        let message = format!(r#"{{"greeting":"{GREETING}","context":"{context}"}}"#);
        match self {
            Self::RawEcho | Self::Echo | Self::Game | Self::Resuming => {
                format!(r#"{{"method":"chat","message":{message}}}"#)
            }
            Self::SocketIo => format!(r#"42["chat",{message}]"#),
        }
    }

    fn echo(self, message: &str) -> Exchange {
        let exchange = exchange(message, message);
        match self {
            Self::RawEcho => Exchange { answer: exchange.request.clone(), ..exchange },
            _ => exchange,
        }
    }
}

/// A client joins the rooms with these numbers, in one write. Only the server of the curves has them.
pub fn enter(rooms: impl Iterator<Item = usize>) -> Exchange {
    let enter = |room| exchange(&format!(r#"{{"method":"enter","message":"room-{room}"}}"#), "true");
    let empty = Exchange { request: Vec::new(), answer: Vec::new() };
    rooms.map(enter).fold(empty, |all, one| Exchange {
        request: [all.request, one.request].concat(),
        answer: [all.answer, one.answer].concat(),
    })
}

/// A client sends a push to the room with this number.
pub fn tell(room: usize) -> Exchange {
    let message = format!(r#"{{"method":"tell","message":{{"room":"room-{room}","text":"{TEXT}"}}}}"#);
    exchange(&message, &format!(r#"{{"method":"said","message":{{"text":"{TEXT}"}}}}"#))
}

/// A chat message to a route.
pub fn chat_at(route: &str) -> Exchange {
    let message = format!(r#"{{"greeting":"{GREETING}","context":"{CONTEXT}"}}"#);
    let request = format!(r#"{{"method":"{route}","message":{message}}}"#);
    exchange(&request, &format!(r#""hey, you said: {GREETING}""#))
}

/// The close handshake that a client begins.
pub fn close() -> Exchange {
    Exchange { request: client_frame(CLOSE_FRAME, &NORMAL_CLOSURE), answer: server_frame(CLOSE_FRAME, &NORMAL_CLOSURE) }
}

/// The pong that a client sends, and the ping of the server that it answers.
pub fn ping() -> Exchange {
    Exchange { request: client_frame(PONG_FRAME, b""), answer: server_frame(PING_FRAME, b"") }
}

/// A text frame of a client: masked.
pub fn client_text(message: &str) -> Vec<u8> {
    client_frame(TEXT_FRAME, message.as_bytes())
}

/// A message of a client, and the text that must come back.
pub fn exchange(request: &str, answer: &str) -> Exchange {
    Exchange { request: client_text(request), answer: server_frame(TEXT_FRAME, answer.as_bytes()) }
}

fn client_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(opcode, MASKED, payload.len());
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn server_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(opcode, 0, payload.len());
    frame.extend(payload);
    frame
}

/// The head of a frame (RFC 6455, section 5.2).
fn head(opcode: u8, masked: u8, len: usize) -> Vec<u8> {
    let mut head = vec![opcode];
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len @ ..LEN_OF_2_BYTES), _) => head.push(masked | len),
        (_, Ok(len)) => {
            head.push(masked | LEN_OF_2_BYTES);
            head.extend(len.to_be_bytes());
        }
        _ => {
            head.push(masked | LEN_OF_8_BYTES);
            head.extend((len as u64).to_be_bytes());
        }
    }
    head
}

/// How many whole answers come, and how much of the next one.
#[derive(Debug, Default)]
pub struct Progress {
    /// How many bytes of the next answer have come.
    at: usize,
    /// What a client counts that can resume its session.
    counts: Option<Counts>,
}

/// The messages that a client has received that can resume its session.
#[derive(Debug, Default)]
struct Counts {
    /// The start of a frame that has not come whole.
    partial: Vec<u8>,
    received: u64,
    acknowledged: u64,
}

impl Progress {
    /// Begins when a connection is open.
    pub fn new(dialect: Dialect) -> Self {
        Self { at: 0, counts: (dialect == Dialect::Resuming).then(Counts::default) }
    }

    /// Compares bytes with the answer that must come, again and again. Returns how many answers are complete.
    ///
    /// # Errors
    ///
    /// Something else came.
    pub fn take(&mut self, bytes: &[u8], answer: &[u8]) -> Result<usize, String> {
        match &mut self.counts {
            Some(counts) => compare(&mut self.at, &counts.receive(bytes), answer),
            None => compare(&mut self.at, bytes, answer),
        }
    }

    /// Checks that nothing comes but acknowledgements.
    ///
    /// # Errors
    ///
    /// Something else came.
    pub fn take_none(&mut self, bytes: &[u8]) -> Result<(), String> {
        let rest = self.counts.as_mut().map_or_else(|| bytes.to_vec(), |counts| counts.receive(bytes));
        if rest.is_empty() { Ok(()) } else { Err(format!("got {:?}", String::from_utf8_lossy(&rest))) }
    }

    /// Returns the acknowledgement that the client must send, if it must.
    pub fn acknowledgement(&mut self) -> Option<Vec<u8>> {
        let counts = self.counts.as_mut().filter(|counts| counts.received - counts.acknowledged >= ACK_EVERY)?;
        counts.acknowledged = counts.received;
        Some(client_text(&format!(r#"{{"ack":{}}}"#, counts.received)))
    }
}

impl Counts {
    /// Counts the messages that are complete with these bytes. Returns all frames but the acknowledgements.
    fn receive(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.partial.extend(bytes);
        let (mut frames, mut start) = (Vec::new(), 0);
        while let Some((payload, end)) = parse(&self.partial[start..]) {
            let frame = &self.partial[start..start + end];
            if !frame[payload..].starts_with(ACK) {
                self.received += u64::from(frame[0] == TEXT_FRAME);
                frames.extend(frame);
            }
            start += end;
        }
        self.partial.drain(..start);
        frames
    }
}

/// Returns the start of the payload and the end of the first frame of a server, if it is complete and not longer than
/// 64 KiB.
fn parse(bytes: &[u8]) -> Option<(usize, usize)> {
    let (payload, len) = match *bytes {
        [_, LEN_OF_2_BYTES, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
        [_, len, ..] if len < LEN_OF_2_BYTES => (2, usize::from(len)),
        _ => return None,
    };
    (bytes.len() >= payload + len).then_some((payload, payload + len))
}

fn compare(at: &mut usize, mut bytes: &[u8], answer: &[u8]) -> Result<usize, String> {
    let mut complete = 0;
    while !bytes.is_empty() {
        // The server pings clients that a busy machine keeps waiting.
        if let Some(rest) = bytes.strip_prefix(&EMPTY_PING).filter(|_| *at == 0 && answer != EMPTY_PING) {
            bytes = rest;
            continue;
        }
        let (now, later) = bytes.split_at(bytes.len().min(answer.len() - *at));
        if now != &answer[*at..*at + now.len()] {
            let expected = String::from_utf8_lossy(answer);
            return Err(format!("expected {expected:?}, but got {:?}", String::from_utf8_lossy(bytes)));
        }
        *at += now.len();
        if *at == answer.len() {
            *at = 0;
            complete += 1;
        }
        bytes = later;
    }
    Ok(complete)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chat_message_has_100_bytes() {
        assert_eq!(Dialect::Game.chat_message(CONTEXT).len(), 100);
    }

    #[test]
    fn a_large_message_has_64_kib() {
        assert_eq!(Dialect::Game.large_chat().request.len(), 14 + LARGE_MESSAGE_SIZE);
    }

    #[test]
    fn answers_are_counted_in_any_pieces() {
        let mut progress = Progress::default();
        assert_eq!(progress.take(b"abcab", b"abc"), Ok(1));
        assert_eq!(progress.take(b"cabc", b"abc"), Ok(2));
        assert!(progress.take(b"b", b"abc").is_err());
    }
    #[test]
    fn a_client_that_can_resume_counts_answers_and_no_acknowledgements() {
        let [said, ack] = ["said", r#"{"ack":64}"#].map(|text| server_frame(TEXT_FRAME, text.as_bytes()));
        let mut progress = Progress::new(Dialect::Resuming);
        let mut complete = 0;
        for message in [&said, &ack].into_iter().chain([&said; 63]) {
            assert_eq!(progress.acknowledgement(), None);
            let (start, rest) = message.split_at(3);
            assert_eq!(progress.take(start, &said), Ok(0));
            complete += progress.take(rest, &said).unwrap();
        }
        assert_eq!((complete, progress.acknowledgement()), (64, Some(client_text(r#"{"ack":64}"#))));
        assert_eq!(progress.take_none(&ack), Ok(()));
        assert!(progress.take_none(&said).is_err());
    }
}
