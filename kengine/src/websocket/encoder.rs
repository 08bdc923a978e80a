//! Whole messages → bytes. Server frames are not masked (RFC 6455, section 5.1): one encoded frame serves
//! every receiver.

use fastwebsockets::OpCode;

use crate::websocket::close::Close;

/// FIN set, no extension bits: every message of ours is one frame.
const FIN: u8 = 0x80;
/// The longest payload whose length fits the second byte (RFC 6455, section 5.2).
const SHORT: usize = 125;
/// The second byte that announces a 16-bit length.
const LENGTH_16: u8 = 126;
/// The second byte that announces a 64-bit length.
const LENGTH_64: u8 = 127;

/// Appends one frame whose payload `write` appends; on an error nothing is left behind.
///
/// The header is two bytes until the payload turns out to be longer than 125, and is widened then: most
/// answers are short, and their payload is written where it stays.
pub(crate) fn frame<E>(
    out: &mut Vec<u8>,
    opcode: OpCode,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let start = out.len();
    out.extend_from_slice(&[FIN | opcode as u8, 0]);
    let body = out.len();
    if let Err(error) = write(out) {
        out.truncate(start);
        return Err(error);
    }
    let length = out.len() - body;
    if length <= SHORT {
        out[start + 1] = length.to_be_bytes()[size_of::<usize>() - 1];
    } else if let Ok(short) = u16::try_from(length) {
        out[start + 1] = LENGTH_16;
        widen(out, body, &short.to_be_bytes());
    } else {
        out[start + 1] = LENGTH_64;
        widen(out, body, &(length as u64).to_be_bytes());
    }
    Ok(())
}

/// Makes room for an extended length before the payload.
fn widen(out: &mut Vec<u8>, body: usize, length: &[u8]) {
    let end = out.len();
    out.extend_from_slice(length);
    out.copy_within(body..end, body + length.len());
    out[body..body + length.len()].copy_from_slice(length);
}

/// Appends one frame with this payload.
pub(crate) fn whole(out: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) {
    let Ok(()) = frame(out, opcode, |out| {
        out.extend_from_slice(payload);
        Ok::<(), std::convert::Infallible>(())
    });
}

/// Appends a close frame; one without a code says nothing.
pub(crate) fn close(out: &mut Vec<u8>, close: Option<&Close>) {
    let Ok(()) = frame(out, OpCode::Close, |out| {
        if let Some(close) = close {
            out.extend_from_slice(&close.code().get().to_be_bytes());
            out.extend_from_slice(close.reason().as_bytes());
        }
        Ok::<(), std::convert::Infallible>(())
    });
}

/// The end of the frame that starts at `start` in bytes of ours, whole frames one after another.
pub(crate) fn end_of_frame(out: &[u8], start: usize) -> usize {
    let payload = |bytes: usize| {
        let length = &out[start + 2..start + 2 + bytes];
        length.iter().fold(0usize, |length, &byte| length << 8 | usize::from(byte)) + bytes
    };
    start
        + 2
        + match out[start + 1] {
            LENGTH_16 => payload(2),
            LENGTH_64 => payload(8),
            short => usize::from(short),
        }
}
