//! Where a dispatcher writes what the client gets for one message.

use fastwebsockets::OpCode;
use serde::Serialize;

use crate::{Error, socket::encoder};

/// A text frame that holds `null`.
const BARE_NULL: &[u8] = b"\x81\x04null";

/// What the client gets for one message: nothing yet, then the frames that the dispatcher writes, in order.
///
/// A handler never meets it, its return value is written for it; a hand-written [`Dispatcher`] does.
///
/// [`Dispatcher`]: crate::Dispatcher
#[derive(Debug, Default)]
pub struct Answer {
    frames: Vec<u8>,
    /// The request's id as it came; meaningless unless `correlated`. Kept to be written into again.
    id: String,
    correlated: bool,
    route: Option<usize>,
    failed: bool,
}

impl Answer {
    /// A text message. It must be well-formed for the subprotocol; nothing is added to it.
    pub fn text(&mut self, text: &str) {
        encoder::whole(&mut self.frames, OpCode::Text, text.as_bytes());
    }

    /// A binary message.
    pub fn binary(&mut self, bytes: &[u8]) {
        encoder::whole(&mut self.frames, OpCode::Binary, bytes);
    }

    /// The result of a request: `{"id":…,"result":…}` when it has an id; otherwise the value bare, or nothing
    /// for a value that encodes as `null`. A value that cannot be written as JSON becomes `internal`.
    pub fn result<T: Serialize + ?Sized>(&mut self, value: &T) {
        let start = self.frames.len();
        let written = encoder::frame(&mut self.frames, OpCode::Text, |out| {
            if !self.correlated {
                return serde_json::to_writer(out, value);
            }
            out.extend_from_slice(b"{\"id\":");
            out.extend_from_slice(self.id.as_bytes());
            out.extend_from_slice(b",\"result\":");
            serde_json::to_writer(&mut *out, value)?;
            out.push(b'}');
            Ok(())
        });
        match written {
            // A request without an id gets no answer that says nothing.
            Ok(()) if !self.correlated && self.frames[start..] == *BARE_NULL => self.frames.truncate(start),
            Ok(()) => {}
            Err(error) => self.error(&Error::internal(error)),
        }
    }

    /// The failure of a request: `{"error":{"code":…,"message":…}}`, with the id when it has one. The error's
    /// source goes to `tracing`.
    pub fn error(&mut self, error: &Error) {
        #[derive(Serialize)]
        struct Shown<'a> {
            code: &'a str,
            message: &'a str,
        }
        self.failed = true;
        if let Some(source) = std::error::Error::source(error) {
            tracing::error!(code = error.code(), error = source, "a request failed");
        }
        let Ok(()) = encoder::frame(&mut self.frames, OpCode::Text, |out| {
            out.push(b'{');
            if self.correlated {
                out.extend_from_slice(b"\"id\":");
                out.extend_from_slice(self.id.as_bytes());
                out.push(b',');
            }
            out.extend_from_slice(b"\"error\":");
            let shown = Shown { code: error.code(), message: error.message() };
            // Two strings into memory: neither the writer nor the value has a way to fail.
            let _ = serde_json::to_writer(&mut *out, &shown);
            out.push(b'}');
            Ok::<(), std::convert::Infallible>(())
        });
    }

    /// From now on the answer carries this id (the raw JSON of a number or a string), or none.
    pub(crate) fn correlate(&mut self, id: Option<&str>) {
        self.correlated = id.is_some();
        self.id.clear();
        self.id.push_str(id.unwrap_or_default());
    }

    /// The route that took the message, as an index of [`Dispatcher::ROUTES`].
    ///
    /// [`Dispatcher::ROUTES`]: crate::Dispatcher::ROUTES
    pub(crate) fn routed(&mut self, route: usize) {
        self.route = Some(route);
    }

    /// Makes it the answer to the next message.
    pub(crate) fn reset(&mut self) {
        self.frames.clear();
        self.correlate(None);
        self.route = None;
        self.failed = false;
    }

    /// Drops what was written and answers with this error instead; the id stays.
    pub(crate) fn replace(&mut self, error: &Error) {
        self.frames.clear();
        self.error(error);
    }

    /// The bytes that this keeps allocated.
    pub(crate) fn capacity(&self) -> usize {
        self.frames.capacity()
    }

    pub(crate) fn frames(&self) -> &[u8] {
        &self.frames
    }

    /// The route that took the message, and whether it failed: what the counters keep.
    pub(crate) fn outcome(&self) -> (Option<usize>, bool) {
        (self.route, self.failed)
    }
}
