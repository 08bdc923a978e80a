//! Any bytes of a client are decoded to the same messages, however they are split, and to the messages that tungstenite
//! decodes.
//!
//! The input is the limit of a message, the number of sizes of pieces, those sizes, and the bytes.

#![no_main]

use std::io::{self, Cursor, Read, Write};

use kengine::testing::fuzzing::{Deframed, deframe};
use kengine::{Close, CloseCode};
use kengine_fuzz::pieces::split;
use libfuzzer_sys::fuzz_target;
use tungstenite::error::CapacityError;
use tungstenite::protocol::frame::coding::CloseCode as TheirCode;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

const LIMITS: [usize; 8] = [0, 1, 5, 125, 126, 300, 2000, 70_000];

fuzz_target!(|data: &[u8]| {
    let &[limit, count, ref rest @ ..] = data else { return };
    let limit = LIMITS[usize::from(limit) % LIMITS.len()];
    let Some((sizes, bytes)) = rest.split_at_checked(usize::from(count % 8)) else { return };
    let whole = deframe([bytes], limit);
    assert_eq!(deframe(split(bytes, sizes), limit), whole, "in pieces of {sizes:?}");
    assert_eq!(deframe(bytes.chunks(1), limit), whole, "byte by byte");

    // A prefix is rejected when it is read at once if and only if it is rejected when it is read byte by byte.
    let start = &bytes[..bytes.len().min(usize::from(count) / 8)];
    assert_eq!(deframe(start.chunks(1), limit), deframe([start], limit), "the first {} bytes", start.len());

    compare(&whole, &read_by_tungstenite(bytes, limit));
});

/// A stream that ends after these bytes, and ignores what is written.
struct Received<'b>(Cursor<&'b [u8]>);

impl Read for Received<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Received<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the messages up to the first close frame or error, and the error unless it is the end of the bytes.
fn read_by_tungstenite(bytes: &[u8], limit: usize) -> (Vec<Message>, Option<Error>) {
    // The limit of a frame holds for control frames too.
    let config = WebSocketConfig::default().max_message_size(Some(limit)).max_frame_size(Some(limit.max(125)));
    let mut socket = WebSocket::from_raw_socket(Received(Cursor::new(bytes)), Role::Server, Some(config));
    let mut messages = Vec::new();
    loop {
        match socket.read() {
            Ok(message) => messages.push(message),
            Err(Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)) => {
                return (messages, None);
            }
            Err(error) => return (messages, Some(error)),
        }
        if let Some(Message::Close(_)) = messages.last() {
            return (messages, None);
        }
    }
}

fn compare(ours: &(Vec<Deframed>, Option<Close>), theirs: &(Vec<Message>, Option<Error>)) {
    let (our_events, violation) = ours;
    let (their_messages, error) = theirs;
    for (event, message) in our_events.iter().zip(their_messages) {
        assert!(is_same(event, message), "{event:?} is {message:?} for tungstenite");
    }
    if let Some(error) = error {
        let close = violation.as_ref().unwrap_or_else(|| panic!("not rejected: {error} after {our_events:?}"));
        // We may reject a frame at an earlier byte, so the reasons may differ. But we may not have read more messages
        // than tungstenite.
        assert!(our_events.len() <= their_messages.len(), "{our_events:?} before {close}, but {error}");
        match error {
            Error::Utf8(_) => assert!([CloseCode::INVALID_DATA, CloseCode::PROTOCOL_ERROR].contains(&close.code())),
            Error::Capacity(CapacityError::MessageTooLong { .. }) | Error::Protocol(_) => {}
            error => panic!("unexpected error of tungstenite: {error}"),
        }
        return;
    }
    match violation {
        None => assert_eq!(our_events.len(), their_messages.len(), "{our_events:?} and {their_messages:?}"),
        Some(close) => match (close.reason(), &their_messages[our_events.len()..]) {
            // tungstenite accepts these: a short length in a long form, and its own answer to an invalid code.
            ("length not in its shortest form", _) => {}
            ("control frame over 125 bytes", [Message::Close(_) | Message::Ping(_) | Message::Pong(_), ..]) => {}
            ("invalid close code", [Message::Close(_)]) => {}
            // We have rejected an incomplete frame; tungstenite waits for the rest of it.
            (_, []) => {}
            (_, more) => panic!("rejected with {close}, but tungstenite reads {more:?}"),
        },
    }
}

fn is_same(ours: &Deframed, theirs: &Message) -> bool {
    match (ours, theirs) {
        (Deframed::Text(ours), Message::Text(theirs)) => ours == theirs.as_str(),
        (Deframed::Binary(ours), Message::Binary(theirs)) | (Deframed::Ping(ours), Message::Ping(theirs)) => {
            ours[..] == theirs[..]
        }
        (Deframed::Pong, Message::Pong(_)) | (Deframed::Close(None), Message::Close(None)) => true,
        (Deframed::Close(Some(ours)), Message::Close(Some(theirs))) => {
            let code = ours.code().get();
            // 1014 was registered after RFC 6455; tungstenite does not know it, and answers with 1002.
            code == 1014 && theirs.code == TheirCode::Protocol
                || code == u16::from(theirs.code) && ours.reason() == theirs.reason.as_str()
        }
        _ => false,
    }
}
