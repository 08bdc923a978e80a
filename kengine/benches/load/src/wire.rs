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

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// These stand in place of a length that takes 2 or 8 bytes.
const LEN_OF_2_BYTES: u8 = 0x7e;
const LEN_OF_8_BYTES: u8 = 0x7f;
const TEXT_FRAME: u8 = 0x81;
const CLOSE_FRAME: u8 = 0x88;
const PING_FRAME: u8 = 0x89;
const PONG_FRAME: u8 = 0x8a;
const MASKED: u8 = 0x80;
/// A normal closure (RFC 6455, section 7.4.1).
const NORMAL_CLOSURE: [u8; 2] = 1000_u16.to_be_bytes();

impl Dialect {
    /// The request of a handshake, if there is one.
    pub fn handshake(self, uid: &str) -> Option<String> {
        let path = match self {
            Self::RawEcho => return None,
            Self::Echo | Self::Game => format!("/ws?uid={uid}"),
            Self::SocketIo => "/socket.io/?EIO=4&transport=websocket".to_owned(),
        };
        Some(format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
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
            Self::Game => exchange(r#"{"method":"join"}"#, "true"),
            Self::SocketIo => exchange(r#"42["join"]"#, r#"42["join",true]"#),
        }
    }

    /// A client sends a push to the room.
    pub fn say(self) -> Exchange {
        match self {
            Self::RawEcho | Self::Echo => self.echo(TEXT),
            Self::Game => {
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
            Self::Game => exchange(&message, &format!(r#""hey, you said: {GREETING}""#)),
            Self::SocketIo => exchange(&message, &format!(r#"42["chat","hey, you said: {GREETING}"]"#)),
        }
    }

    fn chat_message(self, context: &str) -> String {
        let message = format!(r#"{{"greeting":"{GREETING}","context":"{context}"}}"#);
        match self {
            Self::RawEcho | Self::Echo | Self::Game => format!(r#"{{"method":"chat","message":{message}}}"#),
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
}

impl Progress {
    /// Compares bytes with the answer that must come, again and again. Returns how many answers are complete.
    ///
    /// # Errors
    ///
    /// Something else came.
    pub fn take(&mut self, mut bytes: &[u8], answer: &[u8]) -> Result<usize, String> {
        let mut complete = 0;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(answer.len() - self.at));
            if now != &answer[self.at..self.at + now.len()] {
                let expected = String::from_utf8_lossy(answer);
                return Err(format!("expected {expected:?}, but got {:?}", String::from_utf8_lossy(bytes)));
            }
            self.at += now.len();
            if self.at == answer.len() {
                self.at = 0;
                complete += 1;
            }
            bytes = later;
        }
        Ok(complete)
    }
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
}
