//! The frames of a client (RFC 6455, section 5.2): it sends masked frames, and reads unmasked ones.

use fastwebsockets::OpCode;

use crate::websocket::encoder;

/// The mask of every frame. It changes each byte, so that a server that forgets to unmask is noticed. It need not be
/// random: there is no proxy that could be confused.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// The bit of the second byte that marks a masked payload.
const MASKED: u8 = 0x80;
/// The bits of the first byte that hold the opcode.
const OPCODE: u8 = 0x0F;

/// Appends one masked frame with this payload.
pub(super) fn put(out: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) {
    let start = out.len();
    encoder::write_frame(out, opcode, payload);
    let body = out.len() - payload.len();
    out[start + 1] |= MASKED;
    fastwebsockets::unmask(&mut out[body..], MASK);
    out.splice(body..body, MASK);
}

/// Removes the first frame from `bytes` if it is complete, and returns its opcode and payload. The server sends each
/// message as one frame.
pub(super) fn take(bytes: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let header = match bytes.get(1)? {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    if bytes.len() < header {
        return None;
    }
    let end = encoder::end_of_frame(bytes, 0);
    if bytes.len() < end {
        return None;
    }
    let frame = (bytes[0] & OPCODE, bytes[header..end].to_vec());
    bytes.drain(..end);
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::websocket::{Deframer, MessageLimits, WebSocketEvent};

    #[test]
    fn the_deframer_reads_what_put_writes() {
        for length in [0, 1, 125, 126, 65535, 65536] {
            let text = "x".repeat(length);
            let mut bytes = Vec::new();
            put(&mut bytes, OpCode::Text, text.as_bytes());
            let mut rest = &mut bytes[..];
            let limits = MessageLimits { max_size: usize::MAX, max_fragments: 1 };
            let event = Deframer::default().next(&mut rest, limits).unwrap();
            assert_eq!(event, Some(WebSocketEvent::Text(text.into())), "{length}");
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn take_returns_complete_frames_only() {
        for length in [0, 1, 125, 126, 65535, 65536] {
            let payload = vec![7; length];
            let mut sent = Vec::new();
            encoder::write_frame(&mut sent, OpCode::Binary, &payload);
            let mut bytes = sent[..sent.len() - 1].to_vec();
            assert_eq!(take(&mut bytes), None, "{length}");
            bytes.clone_from(&sent);
            bytes.push(0x81);
            assert_eq!(take(&mut bytes), Some((OpCode::Binary as u8, payload)));
            assert_eq!(bytes, [0x81], "bytes of the next frame stay");
        }
    }
}
