//! Decodes the client's bytes into whole messages (RFC 6455, section 5). Input may arrive in pieces of any size.

use std::{borrow::Cow, mem};

use crate::websocket::close::{Close, CloseCode};
use crate::websocket::frame::{Frame, Kind, MAX_HEADER_LEN, Violation};

/// A whole message or control frame from the client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WebSocketEvent<'b> {
    /// A text message. Borrowed if it arrived in one piece, otherwise owned.
    Text(Cow<'b, str>),
    /// A binary message. Borrowed if it arrived in one piece, otherwise owned.
    Binary(Cow<'b, [u8]>),
    /// A ping, whose payload of at most 125 bytes the pong must repeat (RFC 6455, section 5.5.2).
    Ping(Cow<'b, [u8]>),
    /// A pong. Its payload is dropped.
    Pong,
    /// A close frame, with its code and reason if it has them. No further frame follows (RFC 6455, section 5.5.1).
    Close(Option<Close>),
}

/// The limits of one message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageLimits {
    /// The maximum total size of all fragments, in bytes.
    pub(crate) max_size: usize,
    /// The maximum number of fragments.
    pub(crate) max_fragments: u32,
}

/// Decodes the bytes that one client sends.
///
/// A violation of RFC 6455 is rejected at the first byte that proves it, except that the payload of a close frame is
/// checked when the frame is complete. Memory grows with the bytes that have arrived, never with the length that a
/// header announces, and nothing is allocated between two messages.
#[derive(Default)]
pub(crate) struct Deframer {
    /// What has arrived of an incomplete message, control frame or header.
    partial: Option<Box<Partial>>,
}

impl Deframer {
    /// Removes bytes from the front of `input` and returns the next event, or `None` when the input is used up. Must
    /// not be called again after an error or [`WebSocketEvent::Close`].
    ///
    /// # Errors
    ///
    /// The input violates RFC 6455 or the limits.
    pub(crate) fn next<'b>(
        &mut self,
        input: &mut &'b mut [u8],
        limits: MessageLimits,
    ) -> Result<Option<WebSocketEvent<'b>>, Violation> {
        let mut partial = match self.partial.take() {
            Some(partial) => partial,
            None => match Frame::parse(input, None, limits.max_size)? {
                Some((mut frame, after)) if frame.is_last && frame.remaining <= after => {
                    skip_header(input, after);
                    return event(frame.kind, Cow::Borrowed(frame.take_payload(input))).map(Some);
                }
                _ if input.is_empty() => return Ok(None),
                _ => Box::default(),
            },
        };
        let event = partial.next(input, limits)?;
        if !partial.is_empty() {
            self.partial = Some(partial);
        }
        Ok(event)
    }
}

/// What has arrived of an incomplete message, control frame or header.
#[derive(Default)]
struct Partial {
    /// The payload of the message.
    message: Vec<u8>,
    /// How many bytes of a text message are known to be UTF-8. Without this, validating a text in many pieces would
    /// take quadratic time.
    validated: usize,
    /// The payload of a control frame, which may come between two fragments of the message (RFC 6455, section 5.4).
    control: Vec<u8>,
    /// The frame whose payload is incomplete.
    frame: Option<Frame>,
    /// The kind of the fragmented message, between two of its frames.
    open: Option<Kind>,
    /// How many fragments of the message are complete.
    fragments: u32,
    /// An incomplete header.
    header: [u8; MAX_HEADER_LEN],
    header_len: u8,
}

impl Partial {
    fn is_empty(&self) -> bool {
        self.frame.is_none() && self.open.is_none() && self.header_len == 0
    }

    /// Continues where the last piece of input ended.
    fn next<'b>(
        &mut self,
        input: &mut &'b mut [u8],
        limits: MessageLimits,
    ) -> Result<Option<WebSocketEvent<'b>>, Violation> {
        loop {
            let Some(mut frame) = self.next_frame(input, limits.max_size)? else { return Ok(None) };
            let payload = frame.take_payload(input);
            if frame.remaining == 0 && frame.is_last {
                return self.finish(frame.kind, payload).map(Some);
            }
            self.append(frame.kind, payload)?;
            if frame.remaining > 0 {
                self.frame = Some(frame);
                return Ok(None);
            }
            self.open = Some(frame.kind);
            // Another fragment must follow.
            self.fragments += 1;
            if self.fragments >= limits.max_fragments {
                return Err(Violation::TooManyFragments);
            }
        }
    }

    /// Returns the frame whose payload is next in `input`, or `None` if the input ends inside a header.
    fn next_frame(&mut self, input: &mut &mut [u8], max_message_size: usize) -> Result<Option<Frame>, Violation> {
        if let Some(frame) = self.frame.take() {
            return Ok(Some(frame));
        }
        let room = max_message_size.saturating_sub(self.message.len());
        if self.header_len == 0
            && let Some((frame, after)) = Frame::parse(input, self.open, room)?
        {
            skip_header(input, after);
            return Ok(Some(frame));
        }
        self.collect_header(input, room)
    }

    /// Collects a header that arrives in pieces.
    #[cold]
    fn collect_header(&mut self, input: &mut &mut [u8], room: usize) -> Result<Option<Frame>, Violation> {
        while let Some((byte, rest)) = mem::take(input).split_first_mut() {
            *input = rest;
            // In range: no header is longer than the array, and a whole header resets the length.
            self.header[usize::from(self.header_len)] = *byte;
            self.header_len += 1;
            let header = &self.header[..usize::from(self.header_len)];
            if let Some((frame, _)) = Frame::parse(header, self.open, room)? {
                self.header_len = 0;
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }

    /// Appends a piece of payload that does not complete its message or control frame.
    fn append(&mut self, kind: Kind, payload: &[u8]) -> Result<(), Violation> {
        match kind {
            Kind::Text => {
                self.message.extend_from_slice(payload);
                self.validate()?;
            }
            Kind::Binary => self.message.extend_from_slice(payload),
            Kind::Ping | Kind::Close => self.control.extend_from_slice(payload),
            Kind::Pong => {}
        }
        Ok(())
    }

    /// Checks that the text so far is UTF-8. At most three bytes, the start of an incomplete character, are checked
    /// again later.
    fn validate(&mut self) -> Result<(), Violation> {
        match str::from_utf8(&self.message[self.validated..]) {
            Ok(_) => self.validated = self.message.len(),
            Err(error) if error.error_len().is_none() => self.validated += error.valid_up_to(),
            Err(_) => return Err(Violation::NotUtf8),
        }
        Ok(())
    }

    /// Returns the event that the last piece of payload completes.
    fn finish<'b>(&mut self, kind: Kind, payload: &'b [u8]) -> Result<WebSocketEvent<'b>, Violation> {
        let earlier = if kind.is_control() {
            &mut self.control
        } else {
            self.open = None;
            self.fragments = 0;
            self.validated = 0;
            &mut self.message
        };
        if earlier.is_empty() {
            return event(kind, Cow::Borrowed(payload));
        }
        earlier.extend_from_slice(payload);
        event(kind, Cow::Owned(mem::take(earlier)))
    }
}

/// Removes a header from the front of `input`. `after` is the number of bytes after the header.
fn skip_header(input: &mut &mut [u8], after: usize) {
    let length = input.len() - after;
    *input = &mut mem::take(input)[length..];
}

/// Returns the event of a whole message or control frame.
fn event(kind: Kind, payload: Cow<'_, [u8]>) -> Result<WebSocketEvent<'_>, Violation> {
    Ok(match kind {
        Kind::Text => WebSocketEvent::Text(text(payload)?),
        Kind::Binary => WebSocketEvent::Binary(payload),
        Kind::Ping => WebSocketEvent::Ping(payload),
        Kind::Pong => WebSocketEvent::Pong,
        Kind::Close => WebSocketEvent::Close(close(&payload)?),
    })
}

/// Checks that a whole text message is UTF-8 (RFC 6455, section 8.1).
fn text(bytes: Cow<'_, [u8]>) -> Result<Cow<'_, str>, Violation> {
    match bytes {
        Cow::Borrowed(bytes) => str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| Violation::NotUtf8),
        Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| Violation::NotUtf8),
    }
}

/// Parses the payload of a close frame (RFC 6455, sections 5.5.1 and 7.4).
fn close(payload: &[u8]) -> Result<Option<Close>, Violation> {
    // Without a code the payload is empty, because a payload of one byte was rejected with the header.
    let Some((code, reason)) = payload.split_first_chunk() else { return Ok(None) };
    let code = CloseCode::new(u16::from_be_bytes(*code)).ok_or(Violation::Protocol("invalid close code"))?;
    let reason = str::from_utf8(reason).map_err(|_| Violation::NotUtf8)?;
    Ok(Some(Close::new(code, reason.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::frame::{FIN, LENGTH_16, LENGTH_64};

    /// The opcodes of RFC 6455, section 5.2.
    const CONTINUATION: u8 = 0x0;
    const TEXT: u8 = 0x1;
    const BINARY: u8 = 0x2;
    const CLOSE: u8 = 0x8;
    const PING: u8 = 0x9;
    const PONG: u8 = 0xA;
    /// Second byte: the payload is masked.
    const MASKED: u8 = 0x80;
    const MASKS: [[u8; 4]; 3] = [[0; 4], [0x37, 0xFA, 0x21, 0x3D], [0xFF, 0x00, 0x80, 0x01]];
    const LIMIT: usize = 70_000;

    type Outcome = (Vec<WebSocketEvent<'static>>, Option<Violation>);

    /// Encodes one frame, with its length in the shortest form.
    fn frame(first: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            length @ ..=125 => bytes.push(MASKED | u8::try_from(length).unwrap()),
            length @ ..=0xFFFF => {
                bytes.push(MASKED | LENGTH_16);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            length => {
                bytes.push(MASKED | LENGTH_64);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.extend(mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }

    /// Encodes several frames, each with a different mask.
    fn frames(list: &[(u8, &[u8])]) -> Vec<u8> {
        let masks = MASKS.iter().cycle().skip(1);
        list.iter().zip(masks).flat_map(|(&(first, payload), &mask)| frame(first, mask, payload)).collect()
    }

    fn owned(event: WebSocketEvent<'_>) -> WebSocketEvent<'static> {
        match event {
            WebSocketEvent::Text(text) => WebSocketEvent::Text(text.into_owned().into()),
            WebSocketEvent::Binary(bytes) => WebSocketEvent::Binary(bytes.into_owned().into()),
            WebSocketEvent::Ping(bytes) => WebSocketEvent::Ping(bytes.into_owned().into()),
            WebSocketEvent::Pong => WebSocketEvent::Pong,
            WebSocketEvent::Close(close) => WebSocketEvent::Close(close),
        }
    }

    fn text(text: &str) -> WebSocketEvent<'static> {
        WebSocketEvent::Text(text.to_owned().into())
    }

    fn binary(bytes: &[u8]) -> WebSocketEvent<'static> {
        WebSocketEvent::Binary(bytes.to_owned().into())
    }

    fn ping(bytes: &[u8]) -> WebSocketEvent<'static> {
        WebSocketEvent::Ping(bytes.to_owned().into())
    }

    fn closed(code: u16, reason: impl Into<Cow<'static, str>>) -> WebSocketEvent<'static> {
        WebSocketEvent::Close(Some(Close::new(CloseCode::new(code).unwrap(), reason)))
    }

    fn limits(max_size: usize) -> MessageLimits {
        MessageLimits { max_size, max_fragments: u32::MAX }
    }

    /// Decodes one piece of input. Stops after a violation or a close frame, as a caller must.
    fn feed(deframer: &mut Deframer, limits: MessageLimits, piece: &[u8], outcome: &mut Outcome) {
        let mut piece = piece.to_owned();
        let mut input = &mut piece[..];
        loop {
            if outcome.1.is_some() || matches!(outcome.0.last(), Some(WebSocketEvent::Close(_))) {
                return;
            }
            match deframer.next(&mut input, limits) {
                Ok(Some(event)) => outcome.0.push(owned(event)),
                Ok(None) => {
                    assert!(input.is_empty(), "input was left over");
                    return;
                }
                Err(violation) => outcome.1 = Some(violation),
            }
        }
    }

    fn run<'a>(limit: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
        let mut deframer = Deframer::default();
        let mut outcome = Outcome::default();
        for piece in pieces {
            feed(&mut deframer, limits(limit), piece, &mut outcome);
            let Some(partial) = &deframer.partial else { continue };
            let kinds = [partial.open, partial.frame.as_ref().map(|frame| frame.kind)];
            if kinds.contains(&Some(Kind::Text)) && outcome.1.is_none() {
                let unchecked = partial.message.len() - partial.validated;
                assert!(unchecked <= 3, "{unchecked} bytes would be validated again");
            }
        }
        outcome
    }

    /// Cuts `bytes` into pieces of 0 to `longest` bytes, chosen by `seed`.
    fn random_pieces(bytes: &[u8], longest: usize, seed: u64) -> Vec<&[u8]> {
        let (mut rest, mut pieces, mut state) = (bytes, Vec::new(), seed * 0x9E37_79B9 + 1);
        while !rest.is_empty() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let length = usize::try_from(state % (longest as u64 + 1)).unwrap();
            let (piece, later) = rest.split_at(length.min(rest.len()));
            pieces.push(piece);
            rest = later;
        }
        pieces
    }

    /// Returns valid streams and their events.
    fn corpus() -> Vec<(Vec<u8>, Vec<WebSocketEvent<'static>>)> {
        let mut corpus = Vec::new();
        for length in [0, 1, 2, 3, 4, 5, 7, 100, 125, 126, 127, 1000, 65535, 65536] {
            for mask in MASKS {
                let letters: String = ('a'..='z').cycle().take(length).collect();
                let bytes: Vec<u8> = (0..=u8::MAX).rev().cycle().take(length).collect();
                corpus.push((frame(FIN | TEXT, mask, letters.as_bytes()), vec![text(&letters)]));
                corpus.push((frame(FIN | BINARY, mask, &bytes), vec![binary(&bytes)]));
                if length <= 125 {
                    corpus.push((frame(FIN | PING, mask, &bytes), vec![ping(&bytes)]));
                    corpus.push((frame(FIN | PONG, mask, &bytes), vec![WebSocketEvent::Pong]));
                }
            }
        }
        let many = frames(&[(FIN | TEXT, b"one"), (FIN | BINARY, b"two"), (FIN | TEXT, b""), (FIN | TEXT, b"3")]);
        corpus.push((many, vec![text("one"), binary(b"two"), text(""), text("3")]));

        let fragmented = frames(&[
            (TEXT, b"hel"),
            (FIN | PING, b"are you there"),
            (CONTINUATION, b""),
            (FIN | PONG, b"yes"),
            (CONTINUATION, b"lo wo"),
            (FIN | PING, b""),
            (FIN | CONTINUATION, b"rld"),
            (BINARY, &[0xFF; 130]),
            (FIN | PING, &[7; 125]),
            (FIN | CONTINUATION, &[0xFE; 130]),
            (FIN | TEXT, b"after"),
        ]);
        let events = vec![
            ping(b"are you there"),
            WebSocketEvent::Pong,
            ping(b""),
            text("hello world"),
            ping(&[7; 125]),
            binary(&[[0xFF; 130], [0xFE; 130]].concat()),
            text("after"),
        ];
        corpus.push((fragmented, events));

        let empty = [(TEXT, &b""[..]), (CONTINUATION, b""), (FIN | CONTINUATION, b"")];
        corpus.push((frames(&empty), vec![text("")]));
        let late = [(BINARY, &b""[..]), (CONTINUATION, b""), (FIN | CONTINUATION, b"late")];
        corpus.push((frames(&late), vec![binary(b"late")]));
        let early = [(TEXT, &b"early"[..]), (FIN | CONTINUATION, b"")];
        corpus.push((frames(&early), vec![text("early")]));

        // Characters of one to four bytes, at the limits of each length, cut at every byte.
        let characters = "a\u{7f}\u{80}é\u{7ff}\u{800}€\u{d7ff}\u{e000}\u{ffff}\u{10000}𝄞\u{10ffff}";
        for cut in 0..=characters.len() {
            let (head, tail) = characters.as_bytes().split_at(cut);
            let parts = [(TEXT, head), (FIN | PING, b"\xff"), (FIN | CONTINUATION, tail)];
            corpus.push((frames(&parts), vec![ping(b"\xff"), text(characters)]));
        }
        let single_bytes: Vec<(u8, &[u8])> = [(TEXT, &b""[..])]
            .into_iter()
            .chain(characters.as_bytes().chunks(1).map(|byte| (CONTINUATION, byte)))
            .chain([(FIN | CONTINUATION, &b""[..])])
            .collect();
        corpus.push((frames(&single_bytes), vec![text(characters)]));

        corpus.push((frames(&[(FIN | CLOSE, b"")]), vec![WebSocketEvent::Close(None)]));
        for code in [1000, 1001, 1002, 1003, 1007, 1008, 1011, 1014, 3000, 3999, 4000, 4999] {
            let close = frames(&[(FIN | CLOSE, &u16::to_be_bytes(code)), (FIN | TEXT, b"never read")]);
            corpus.push((close, vec![closed(code, "")]));
        }
        let goodbye = [&1000_u16.to_be_bytes()[..], "grüße".as_bytes()].concat();
        corpus.push((frames(&[(TEXT, b"open"), (FIN | CLOSE, &goodbye)]), vec![closed(1000, "grüße")]));
        let longest = [&4000_u16.to_be_bytes()[..], &[b'x'; 123]].concat();
        corpus.push((frames(&[(FIN | CLOSE, &longest)]), vec![closed(4000, "x".repeat(123))]));
        corpus
    }

    /// Invalid streams: what is wrong, the bytes, and the index of the byte that proves it.
    type Wrong = Vec<(&'static str, Vec<u8>, usize)>;

    fn violations() -> Vec<(Violation, Wrong)> {
        vec![
            (Violation::Protocol("frame is not masked"), not_masked()),
            (Violation::Protocol("reserved bit without an extension"), reserved_bits()),
            (Violation::Protocol("unknown opcode"), unknown_opcodes()),
            (Violation::Protocol("fragmented control frame"), fragmented_controls()),
            (Violation::Protocol("control frame over 125 bytes"), long_controls()),
            (Violation::Protocol("continuation frame without a message"), lone_continuations()),
            (Violation::Protocol("new message inside a fragmented one"), interrupted_messages()),
            (Violation::Protocol("length not in its shortest form"), long_lengths()),
            (Violation::Protocol("payload length above 63 bits"), negative_lengths()),
            (Violation::Protocol("close frame with a payload of one byte"), half_close_codes()),
            (Violation::Protocol("invalid close code"), bad_close_codes()),
            (Violation::NotUtf8, not_utf8()),
            (Violation::TooLarge, too_large()),
        ]
    }

    fn one(first: u8, payload: &[u8]) -> Vec<u8> {
        frame(first, MASKS[1], payload)
    }

    fn not_masked() -> Wrong {
        vec![
            ("text", b"\x81\x02hi".to_vec(), 1),
            ("empty binary", b"\x82\x00".to_vec(), 1),
            ("ping", b"\x89\x00".to_vec(), 1),
            ("before the length is known", b"\x82\x7F".to_vec(), 1),
        ]
    }

    fn reserved_bits() -> Wrong {
        vec![
            ("first", one(FIN | 0x40 | TEXT, b"hi"), 0),
            ("second", one(FIN | 0x20 | BINARY, b"hi"), 0),
            ("third", one(FIN | 0x10 | PING, b"hi"), 0),
            ("of a later frame", [one(TEXT, b"hi"), one(0x40, b"hi")].concat(), 8),
        ]
    }

    fn unknown_opcodes() -> Wrong {
        let opcodes = (0x3..=0x7).chain(0xB..=0xF);
        opcodes.map(|opcode| ("opcode", one(FIN | opcode, b"hi"), 0)).collect()
    }

    fn fragmented_controls() -> Wrong {
        vec![("ping", one(PING, b""), 0), ("pong", one(PONG, b""), 0), ("close", one(CLOSE, b""), 0)]
    }

    fn long_controls() -> Wrong {
        vec![
            ("ping", one(FIN | PING, &[0; 126]), 1),
            ("pong", one(FIN | PONG, &[0; 65536]), 1),
            ("close", one(FIN | CLOSE, &[0; 126]), 1),
            ("one byte, in the 16-bit form", b"\x89\xFE\x00\x01".to_vec(), 1),
        ]
    }

    fn lone_continuations() -> Wrong {
        let ended = [(TEXT, &b"a"[..]), (FIN | CONTINUATION, b"b"), (CONTINUATION, b"c")];
        vec![
            ("at the start", one(CONTINUATION, b"hi"), 0),
            ("last one at the start", one(FIN | CONTINUATION, b"hi"), 0),
            ("after the end", frames(&ended), 14),
        ]
    }

    fn interrupted_messages() -> Wrong {
        let after_ping = [(TEXT, &b"a"[..]), (FIN | PING, b""), (BINARY, b"b")];
        vec![
            ("by a text", frames(&[(TEXT, b"a"), (FIN | TEXT, b"b")]), 7),
            ("by a binary", frames(&after_ping), 13),
            ("while it is still empty", frames(&[(BINARY, b""), (BINARY, b"")]), 6),
        ]
    }

    fn long_lengths() -> Wrong {
        vec![
            ("125 in 16 bits", b"\x81\xFE\x00\x7D".to_vec(), 3),
            ("0 in 16 bits", b"\x81\xFE\x00\x00".to_vec(), 3),
            ("65535 in 64 bits", b"\x81\xFF\0\0\0\0\0\0\xFF\xFF".to_vec(), 7),
            ("1 in 64 bits", b"\x81\xFF\0\0\0\0\0\0\0\x01".to_vec(), 7),
        ]
    }

    fn negative_lengths() -> Wrong {
        vec![
            ("least", b"\x82\xFF\x80\0\0\0\0\0\0\0".to_vec(), 2),
            ("greatest", b"\x82\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF".to_vec(), 2),
        ]
    }

    fn half_close_codes() -> Wrong {
        vec![("one byte", one(FIN | CLOSE, b"\x03"), 1)]
    }

    fn bad_close_codes() -> Wrong {
        let codes = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535];
        codes.map(|code| ("code", one(FIN | CLOSE, &u16::to_be_bytes(code)), 7)).to_vec()
    }

    fn not_utf8() -> Wrong {
        let long = [b"ab\xFF", &[b'c'; 200][..]].concat();
        let cut_by_the_message = [(TEXT, &b"\xE2"[..]), (FIN | PING, b""), (FIN | CONTINUATION, b"\x82")];
        let cut_by_nothing = [(TEXT, &b"\xE2\x82"[..]), (FIN | CONTINUATION, b"")];
        let in_a_later_fragment = [(TEXT, &b"a\xF0\x9F"[..]), (CONTINUATION, b""), (CONTINUATION, b"\x98\x41more")];
        vec![
            ("bad byte", one(FIN | TEXT, b"ab\xFFcd"), 8),
            ("bad byte in a long frame", one(FIN | TEXT, &long), 10),
            ("character cut by a letter", one(FIN | TEXT, b"\xE2\x82abc"), 8),
            ("character cut by the end", one(FIN | TEXT, b"ab\xE2\x82"), 9),
            ("stray continuation byte", one(TEXT, b"\x80"), 6),
            ("overlong in two bytes", one(TEXT, b"\xC0\xAF"), 6),
            ("overlong in three bytes", one(TEXT, b"\xE0\x9F\xBF"), 7),
            ("surrogate", one(TEXT, b"\xED\xA0\x80"), 7),
            ("beyond the last character", one(TEXT, b"\xF4\x90\x80\x80"), 7),
            ("cut by the end of the message", frames(&cut_by_the_message), 19),
            ("cut by an empty last fragment", frames(&cut_by_nothing), 13),
            ("in a later fragment", frames(&in_a_later_fragment), 22),
            ("close reason", one(FIN | CLOSE, b"\x03\xE8ab\xFFcd"), 12),
            ("cut close reason", one(FIN | CLOSE, b"\x03\xE8ab\xC3"), 10),
        ]
    }

    fn too_large() -> Wrong {
        let second = [one(BINARY, &[0; 100]), b"\x80\xFF\0\0\0\0\0\x01\x11\x0D".to_vec()];
        vec![
            ("an exbibyte", b"\x82\xFF\x10\0\0\0\0\0\0\0".to_vec(), 2),
            ("a mebibyte", b"\x82\xFF\0\0\0\0\0\x10\0\0".to_vec(), 7),
            ("one byte too many", b"\x82\xFF\0\0\0\0\0\x01\x11\x71".to_vec(), 9),
            ("one byte too many in all", second.concat(), 115),
        ]
    }

    #[test]
    fn whole_streams_are_decoded() {
        for (bytes, events) in corpus() {
            assert_eq!(run(LIMIT, [&bytes[..]]), (events, None));
        }
    }

    #[test]
    fn pieces_of_any_size_give_the_same_events() {
        let bad = violations().into_iter().flat_map(|(_, list)| list).map(|(_, bytes, _)| bytes);
        for bytes in corpus().into_iter().map(|(bytes, _)| bytes).chain(bad) {
            let whole = run(LIMIT, [&bytes[..]]);
            for cut in 0..=bytes.len() {
                // Testing every cut of a large stream would take minutes: test both ends, and samples between.
                if cut > 300 && bytes.len() - cut > 300 && cut % 997 != 0 {
                    continue;
                }
                let (head, tail) = bytes.split_at(cut);
                assert_eq!(run(LIMIT, [head, tail]), whole, "cut at {cut} of {}", bytes.len());
            }
            assert_eq!(run(LIMIT, bytes.chunks(1)), whole, "byte by byte");
            for (seed, longest) in [(1, 2), (2, 3), (3, 9), (4, 20), (5, 500), (6, 9000)] {
                assert_eq!(run(LIMIT, random_pieces(&bytes, longest, seed)), whole, "seed {seed}");
            }
        }
    }

    #[test]
    fn streams_on_one_connection_are_independent() {
        let (mut bytes, mut events) = (Vec::new(), Vec::new());
        for (stream, expected) in corpus() {
            if !expected.iter().any(|event| matches!(event, WebSocketEvent::Close(_))) {
                bytes.extend(stream);
                events.extend(expected);
            }
        }
        let expected = (events, None);
        assert!(run(LIMIT, [&bytes[..]]) == expected);
        assert!(run(LIMIT, bytes.chunks(16384)) == expected);
        assert!(run(LIMIT, bytes.chunks(1)) == expected);
        assert!(run(LIMIT, random_pieces(&bytes, 5000, 7)) == expected);
    }

    #[test]
    fn violations_are_found_at_the_first_byte_that_proves_them() {
        for (violation, list) in violations() {
            for (wrong, bytes, index) in list {
                let (proven, undecided) = (&bytes[..=index], &bytes[..index]);
                assert_eq!(run(LIMIT, [proven]).1, Some(violation), "{wrong}");
                assert_eq!(run(LIMIT, proven.chunks(1)).1, Some(violation), "{wrong}, byte by byte");
                assert_eq!(run(LIMIT, [undecided]).1, None, "{wrong}, too early");
                assert_eq!(run(LIMIT, undecided.chunks(1)).1, None, "{wrong}, too early, byte by byte");
            }
        }
    }

    #[test]
    fn the_size_limit_counts_all_fragments() {
        let limited = |list: &[(u8, &[u8])], limit| run(limit, [&frames(list)[..]]).1;
        for limit in [0, 1, 10, 125, 126, 300, 65535, 65536] {
            let exact = vec![b'x'; limit];
            let (head, tail) = exact.split_at(limit / 3);
            assert_eq!(limited(&[(FIN | TEXT, &exact)], limit), None);
            assert_eq!(limited(&[(TEXT, head), (FIN | PING, &[0; 125]), (FIN | CONTINUATION, tail)], limit), None);
            assert_eq!(limited(&[(BINARY, &exact), (FIN | CONTINUATION, b"")], limit), None);
            assert_eq!(limited(&[(BINARY, &exact), (FIN | CONTINUATION, b"1")], limit), Some(Violation::TooLarge));
            // The limit applies to each message separately.
            assert_eq!(limited(&[(FIN | TEXT, &exact), (TEXT, head), (FIN | CONTINUATION, tail)], limit), None);

            let over = vec![b'x'; limit + 1];
            let bytes = frame(FIN | TEXT, MASKS[1], &over);
            let header_without_mask = bytes.len() - over.len() - 4;
            assert_eq!(run(limit, [&bytes[..header_without_mask]]).1, Some(Violation::TooLarge));
        }
    }

    #[test]
    fn the_number_of_fragments_is_limited() {
        let message = |fragments: usize| {
            let middle = std::iter::repeat_n((CONTINUATION, &b""[..]), fragments - 2);
            let whole: Vec<_> =
                [(TEXT, &b"x"[..])].into_iter().chain(middle).chain([(FIN | CONTINUATION, &b""[..])]).collect();
            // A control frame is not a fragment.
            frames(&[&whole[..1], &[(FIN | PING, &b""[..])], &whole[1..]].concat())
        };
        let run = |bytes: &[u8], max_fragments| {
            let mut outcome = Outcome::default();
            feed(&mut Deframer::default(), MessageLimits { max_size: LIMIT, max_fragments }, bytes, &mut outcome);
            outcome
        };
        for max in [2, 3, 1000] {
            let twice = [message(max), message(max)].concat();
            let events = vec![ping(b""), text("x"), ping(b""), text("x")];
            let max_fragments = u32::try_from(max).unwrap();
            assert_eq!(run(&twice, max_fragments), (events, None), "each message has its own limit");
            // Noticed before the last fragment has come.
            let bytes = message(max + 1);
            let (outcome, violation) = run(&bytes[..bytes.len() - 6], max_fragments);
            assert_eq!((outcome, violation), (vec![ping(b"")], Some(Violation::TooManyFragments)));
        }
        for max_fragments in [0, 1] {
            assert_eq!(run(&frame(FIN | TEXT, MASKS[1], b"x"), max_fragments), (vec![text("x")], None));
            assert_eq!(run(&message(2), max_fragments).1, Some(Violation::TooManyFragments));
        }
    }

    #[test]
    fn whole_frames_are_borrowed_from_the_input() {
        let mut bytes = frames(&[(FIN | TEXT, b"text"), (FIN | BINARY, b"bin"), (FIN | PING, b"hi"), (TEXT, b"a")]);
        let mut input = &mut bytes[..];
        let (mut deframer, limits) = (Deframer::default(), limits(LIMIT));
        // All events are held while the rest of the input is decoded.
        let text = deframer.next(&mut input, limits);
        let binary = deframer.next(&mut input, limits);
        let ping = deframer.next(&mut input, limits);
        assert_eq!(deframer.next(&mut input, limits), Ok(None));
        assert!(matches!(text, Ok(Some(WebSocketEvent::Text(Cow::Borrowed("text"))))));
        assert!(matches!(binary, Ok(Some(WebSocketEvent::Binary(Cow::Borrowed(b"bin"))))));
        assert!(matches!(ping, Ok(Some(WebSocketEvent::Ping(Cow::Borrowed(b"hi"))))));
    }

    #[test]
    fn memory_grows_with_what_has_arrived() {
        let (mut deframer, limits) = (Deframer::default(), limits(usize::MAX));
        let mut outcome = Outcome::default();
        feed(&mut deframer, limits, b"\x82\xFF\0\0\0\0\x40\0\0\0\x01\x02\x03\x04", &mut outcome);
        let partial = deframer.partial.as_ref().unwrap();
        assert_eq!(partial.frame.as_ref().map(|frame| frame.remaining), Some(1 << 30));
        assert_eq!(partial.message.capacity(), 0);
        feed(&mut deframer, limits, &[0; 10], &mut outcome);
        assert!(deframer.partial.unwrap().message.capacity() <= 64);
        assert_eq!(outcome, (vec![], None));
    }

    #[test]
    fn nothing_is_allocated_between_messages() {
        for (bytes, events) in corpus() {
            let mut deframer = Deframer::default();
            let mut outcome = Outcome::default();
            for piece in bytes.chunks(5) {
                feed(&mut deframer, limits(LIMIT), piece, &mut outcome);
            }
            if !matches!(events.last(), Some(WebSocketEvent::Close(_))) {
                assert!(deframer.partial.is_none());
            }
        }
        assert!(size_of::<Deframer>() <= 8);
    }
}
