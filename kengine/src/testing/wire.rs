//! A client's side of RFC 6455, section 5.2: masked frames out, whole frames in.

use fastwebsockets::OpCode;

use crate::websocket::encoder;

/// What every frame is masked with. It hides nothing here, where no proxy could be confused; one that changes each
/// byte shows a server that forgets it.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// The second byte: the payload is masked.
const MASKED: u8 = 0x80;
/// The first byte: the kind of frame.
const OPCODE: u8 = 0x0F;

/// Appends one masked frame with this payload.
pub(super) fn put(out: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) {
    let start = out.len();
    encoder::whole(out, opcode, payload);
    let body = out.len() - payload.len();
    out[start + 1] |= MASKED;
    fastwebsockets::unmask(&mut out[body..], MASK);
    out.splice(body..body, MASK);
}

/// Takes the first frame off `bytes` once it is whole: its opcode and its payload. Each message of the server's is
/// one frame.
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
    use crate::websocket::deframer::{Deframer, WebSocketEvent};

    #[test]
    fn what_is_put_is_understood() {
        for length in [0, 1, 125, 126, 65535, 65536] {
            let text = "x".repeat(length);
            let mut bytes = Vec::new();
            put(&mut bytes, OpCode::Text, text.as_bytes());
            let mut rest = &mut bytes[..];
            let event = Deframer::new(usize::MAX).next(&mut rest).unwrap();
            assert_eq!(event, Some(WebSocketEvent::Text(text.into())), "{length}");
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn a_frame_is_taken_when_it_is_whole() {
        for length in [0, 1, 125, 126, 65535, 65536] {
            let payload = vec![7; length];
            let mut sent = Vec::new();
            encoder::whole(&mut sent, OpCode::Binary, &payload);
            let mut bytes = sent[..sent.len() - 1].to_vec();
            assert_eq!(take(&mut bytes), None, "{length}");
            bytes.clone_from(&sent);
            bytes.push(0x81);
            assert_eq!(take(&mut bytes), Some((OpCode::Binary as u8, payload)));
            assert_eq!(bytes, [0x81], "what follows is left");
        }
    }
}
