//! The frames of RFC 6455, section 5.2, written and read independently of kengine.

pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;
/// First byte: the frame is the last one of its message.
pub const FIN: u8 = 0x80;

/// Returns a masked frame with this first byte.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        length @ ..126 => frame.push(0x80 | length as u8),
        length @ ..0x1_0000 => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A frame of the server.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

/// Reads what a server has sent, and panics if it violates RFC 6455. `is_cut` says whether the last frame may be
/// incomplete.
pub fn read_all(mut bytes: &[u8], is_cut: bool) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    while !bytes.is_empty() {
        assert!(frames.last().is_none_or(|last| last.opcode != CLOSE), "bytes after a close frame: {bytes:?}");
        let Some((frame, rest)) = read(bytes) else {
            assert!(is_cut, "an incomplete frame: {bytes:?}");
            break;
        };
        frames.push(frame);
        bytes = rest;
    }
    frames
}

/// Reads the first frame, if it is complete.
pub fn read(bytes: &[u8]) -> Option<(Frame, &[u8])> {
    let ([first, second], rest) = bytes.split_first_chunk::<2>()?;
    let opcode = first & 0x0f;
    assert!(first & 0xf0 == FIN, "the server sends whole messages without extensions: {first:#x}");
    assert!([TEXT, BINARY, CLOSE, PING, PONG].contains(&opcode), "unknown opcode {opcode}");
    let (length, rest) = match second {
        126 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            let length = u64::from(u16::from_be_bytes(*length));
            assert!(length > 125, "not the shortest length");
            (length, rest)
        }
        127 => {
            let (length, rest) = rest.split_first_chunk::<8>()?;
            let length = u64::from_be_bytes(*length);
            assert!(length > 0xffff, "not the shortest length");
            (length, rest)
        }
        length => (u64::from(*length), rest),
    };
    assert!(second & 0x80 == 0, "a server does not mask");
    assert!(opcode < CLOSE || length <= 125, "a control frame of {length} bytes");
    let (payload, rest) = rest.split_at_checked(usize::try_from(length).unwrap())?;
    match opcode {
        TEXT => assert!(str::from_utf8(payload).is_ok(), "a text that is not UTF-8: {payload:?}"),
        CLOSE if !payload.is_empty() => {
            let (code, reason) = payload.split_first_chunk().expect("a close frame of one byte");
            let code = u16::from_be_bytes(*code);
            assert!(matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999), "close code {code}");
            assert!(str::from_utf8(reason).is_ok(), "a reason that is not UTF-8: {reason:?}");
        }
        _ => {}
    }
    Some((Frame { opcode, payload: payload.to_vec() }, rest))
}
