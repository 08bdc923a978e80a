//! Encodes messages as frames. Frames from the server are not masked (RFC 6455, section 5.1), so one encoded frame can
//! be sent to every receiver.

use fastwebsockets::OpCode;

use crate::websocket::close::Close;
use crate::websocket::frame::{FIN, LENGTH_16, LENGTH_64, MAX_SHORT};

/// Appends one frame whose payload is appended by `write`. Appends nothing if `write` fails.
///
/// The header has two bytes at first and is widened if the payload turns out to be longer than 125 bytes. So the
/// payload of most answers is written directly to its final position.
pub(crate) fn write_frame_with<E>(
    out: &mut Vec<u8>,
    opcode: OpCode,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let start = out.len();
    // Every message is one frame.
    out.extend_from_slice(&[FIN | opcode as u8, 0]);
    let body = out.len();
    if let Err(error) = write(out) {
        out.truncate(start);
        return Err(error);
    }
    let length = out.len() - body;
    if length <= usize::from(MAX_SHORT) {
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

/// Inserts an extended length before the payload.
fn widen(out: &mut Vec<u8>, body: usize, length: &[u8]) {
    let end = out.len();
    out.extend_from_slice(length);
    out.copy_within(body..end, body + length.len());
    out[body..body + length.len()].copy_from_slice(length);
}

/// Appends one frame with the given payload.
pub(crate) fn write_frame(out: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) {
    let Ok(()) = write_frame_with(out, opcode, |out| {
        out.extend_from_slice(payload);
        Ok::<(), std::convert::Infallible>(())
    });
}

/// Appends a close frame, with or without a code and a reason (RFC 6455, section 5.5.1).
pub(crate) fn write_close_frame(out: &mut Vec<u8>, close: Option<&Close>) {
    let Ok(()) = write_frame_with(out, OpCode::Close, |out| {
        if let Some(close) = close {
            out.extend_from_slice(&close.code().get().to_be_bytes());
            out.extend_from_slice(close.reason().as_bytes());
        }
        Ok::<(), std::convert::Infallible>(())
    });
}

/// The longest header of a frame, in bytes.
const MAX_HEADER: usize = 10;

/// Returns the end of the frame that starts at `start` in `out`, a sequence of frames that this module has encoded.
#[inline]
pub(crate) fn end_of_frame(out: &[u8], start: usize) -> usize {
    let (header, payload) = lengths(&out[start..]);
    start + header + payload
}

/// Returns the frames in a sequence of frames that this module has encoded.
pub(crate) fn frames(mut frames: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let frame;
        (frame, frames) = (!frames.is_empty()).then(|| frames.split_at(end_of_frame(frames, 0)))?;
        Some(frame)
    })
}

/// Whether a frame that this module has encoded has this payload.
#[inline]
pub(crate) fn has_payload(frame: &[u8], payload: &[u8]) -> bool {
    // Most frames are longer or shorter.
    (payload.len() + 2..=payload.len() + MAX_HEADER).contains(&frame.len()) && &frame[lengths(frame).0..] == payload
}

/// Returns the lengths of the header and of the payload of the first frame.
#[inline]
fn lengths(frames: &[u8]) -> (usize, usize) {
    let big_endian = |bytes: &[u8]| bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte));
    match frames[1] {
        LENGTH_16 => (4, big_endian(&frames[2..4])),
        LENGTH_64 => (10, big_endian(&frames[2..10])),
        short => (2, usize::from(short)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_frame_is_found_for_every_form_of_its_length() {
        let (mut out, mut ends) = (Vec::new(), Vec::new());
        for length in [0, 1, 125, 126, 0x1234, 0xffff, 0x1_0000, 0x1_2345, 7] {
            write_frame(&mut out, OpCode::Binary, &vec![0xff; length]);
            ends.push(out.len());
        }
        let mut start = 0;
        for end in ends {
            assert_eq!(end_of_frame(&out, start), end);
            start = end;
        }
    }
}
