//! The buffer into which a dispatcher writes the answer to one message.

use fastwebsockets::OpCode;
use serde::Serialize;

use crate::protocol::error::Error;
use crate::protocol::logged::logged;
use crate::websocket::encoder;

/// A text frame whose payload is `null`.
const BARE_NULL: &[u8] = b"\x81\x04null";

/// The size in bytes from which an answer is moved instead of copied.
const MIN_MOVED: usize = 64 * 1024;

/// The answer to one message: the frames that the dispatcher writes, in order. It starts empty.
///
/// Handlers return a value instead; only a hand-written [`Dispatcher`](crate::Dispatcher) uses this type.
#[derive(Debug, Default)]
pub struct Answer {
    frames: Vec<u8>,
    /// The request's id as raw JSON; valid only if `has_id` is set. The buffer is reused for the next message.
    id: String,
    has_id: bool,
    has_failed: bool,
}

impl Answer {
    /// Writes a text message unchanged. It must be well-formed for the subprotocol.
    pub fn text(&mut self, text: &str) {
        encoder::write_frame(&mut self.frames, OpCode::Text, text.as_bytes());
    }

    /// Writes a binary message unchanged.
    pub fn binary(&mut self, bytes: &[u8]) {
        encoder::write_frame(&mut self.frames, OpCode::Binary, bytes);
    }

    /// Writes the result of a request. With an id: `{"id":…,"result":…}`. Without one: the bare value, or nothing if
    /// the value encodes as `null`. A value that cannot be written as JSON becomes the error `internal`.
    pub fn result<T: Serialize + ?Sized>(&mut self, value: &T) {
        if let Err(error) = self.try_result(value) {
            self.error(&error);
        }
    }

    /// Writes the result of a request as [`result`](Self::result) does.
    ///
    /// # Errors
    ///
    /// `internal` if the value cannot be written as JSON. Then nothing is written.
    #[inline]
    pub(crate) fn try_result<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let start = self.frames.len();
        let written = encoder::write_frame_with(&mut self.frames, OpCode::Text, |out| {
            if !self.has_id {
                return serde_json::to_writer(out, value);
            }
            out.extend_from_slice(b"{\"id\":");
            out.extend_from_slice(self.id.as_bytes());
            out.extend_from_slice(b",\"result\":");
            serde_json::to_writer(&mut *out, value)?;
            out.push(b'}');
            Ok(())
        });
        written.map_err(Error::internal)?;
        if !self.has_id && self.frames[start..] == *BARE_NULL {
            // A request without an id gets no empty answer.
            self.frames.truncate(start);
        }
        Ok(())
    }

    /// Writes the failure of a request: `{"error":{"code":…,"message":…}}`, with the id if it has one. The error's
    /// source is logged with `tracing`.
    pub fn error(&mut self, error: &Error) {
        self.error_of(error, None);
    }

    /// Writes the failure of a request to this route, if a route has taken it. Without an id the error names the route:
    /// `{"error":{"code":…,"message":…,"method":…}}`.
    pub(crate) fn error_of(&mut self, error: &Error, route: Option<&str>) {
        #[derive(Serialize)]
        struct Shown<'a> {
            code: &'a str,
            message: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            method: Option<&'a str>,
        }
        self.has_failed = true;
        if let Some(source) = std::error::Error::source(error) {
            tracing::error!(code = error.code(), error = logged(source), "a request failed");
        }
        let Ok(()) = encoder::write_frame_with(&mut self.frames, OpCode::Text, |out| {
            out.push(b'{');
            if self.has_id {
                out.extend_from_slice(b"\"id\":");
                out.extend_from_slice(self.id.as_bytes());
                out.push(b',');
            }
            out.extend_from_slice(b"\"error\":");
            let method = route.filter(|_| !self.has_id);
            let shown = Shown { code: error.code(), message: error.message(), method };
            // Writing strings into memory cannot fail.
            let _ = serde_json::to_writer(&mut *out, &shown);
            out.push(b'}');
            Ok::<(), std::convert::Infallible>(())
        });
    }

    /// Sets the id that the answer carries: the raw JSON of a number or a string, or none.
    #[inline]
    pub(crate) fn set_id(&mut self, id: Option<&str>) {
        self.has_id = id.is_some();
        self.id.clear();
        self.id.push_str(id.unwrap_or_default());
    }

    /// Clears the answer for the next message.
    #[inline]
    pub(crate) fn reset(&mut self) {
        self.frames.clear();
        self.set_id(None);
        self.has_failed = false;
    }

    /// Discards everything written so far and writes an [error](Self::error_of) instead. The id stays.
    pub(crate) fn replace(&mut self, error: &Error, route: Option<&str>) {
        self.frames.clear();
        self.error_of(error, route);
    }

    /// Records a failure that the client is not told.
    pub(crate) fn fail_untold(&mut self) {
        self.has_failed = true;
    }

    /// Returns how many bytes the buffer keeps allocated.
    pub(crate) fn capacity(&self) -> usize {
        self.frames.capacity()
    }

    /// Returns the frames that were written.
    pub(crate) fn frames(&self) -> &[u8] {
        &self.frames
    }

    /// Appends what was written to `out`. A long answer is moved, so that it is never in memory twice while the client
    /// does not read it.
    #[inline]
    pub(crate) fn move_to(&mut self, out: &mut Vec<u8>) {
        if self.frames.len() < MIN_MOVED {
            out.extend_from_slice(&self.frames);
        } else {
            self.move_long_to(out);
        }
    }

    #[cold]
    fn move_long_to(&mut self, out: &mut Vec<u8>) {
        let mut frames = std::mem::take(&mut self.frames);
        if out.is_empty() {
            frames.shrink_to_fit();
            *out = frames;
        } else {
            out.reserve_exact(frames.len());
            out.append(&mut frames);
        }
    }

    /// Whether an error was written.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_failed_from_an_error_until_it_is_reset() {
        let mut answer = Answer::default();
        answer.result(&1);
        assert!(!answer.has_failed());
        answer.error(&Error::new("full", "no seat is left"));
        assert!(answer.has_failed());
        answer.reset();
        assert!(!answer.has_failed());
    }

    #[test]
    fn the_buffer_of_a_short_answer_is_kept_and_that_of_a_long_one_is_moved() {
        const HEADER: usize = 4;
        for (payload, is_kept) in [(1, true), (MIN_MOVED - HEADER - 1, true), (MIN_MOVED - HEADER, false)] {
            let mut answer = Answer::default();
            answer.binary(&vec![7; payload]);
            let (frames, mut out) = (answer.frames.clone(), Vec::new());
            answer.move_to(&mut out);
            assert_eq!(out, frames);
            assert_eq!(answer.capacity() > 0, is_kept, "{payload} bytes");
        }
    }
}
