//! The frames that wait for the kernel to take them.

use crate::websocket::encoder;

/// Encoded frames, from the start of a frame. An idle connection keeps no storage for them.
#[derive(Default)]
pub(super) struct Output(Option<Box<Frames>>);

#[derive(Default)]
struct Frames {
    bytes: Vec<u8>,
    /// How many of the bytes the kernel has taken.
    written: usize,
}

#[cold]
#[expect(clippy::unnecessary_box_returns, reason = "the box is what is allocated")]
fn allocate() -> Box<Frames> {
    Box::default()
}

impl Output {
    /// Whether there is no storage.
    pub(super) fn is_absent(&self) -> bool {
        self.0.is_none()
    }

    /// Returns the bytes of all frames, to add to them.
    #[inline]
    pub(super) fn frames(&mut self) -> &mut Vec<u8> {
        &mut self.0.get_or_insert_with(allocate).bytes
    }

    /// Returns the size of all frames, even of those that the kernel has taken.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |frames| frames.bytes.len())
    }

    /// Returns how many bytes the kernel has taken.
    pub(super) fn written(&self) -> usize {
        self.0.as_ref().map_or(0, |frames| frames.written)
    }

    /// Returns what the kernel has not taken, unless it has taken everything.
    #[inline]
    pub(super) fn unwritten(&self) -> Option<&[u8]> {
        let frames = self.0.as_ref()?;
        (frames.written < frames.bytes.len()).then(|| &frames.bytes[frames.written..])
    }

    /// Records that the kernel has taken some of [`unwritten`](Self::unwritten).
    #[inline]
    pub(super) fn advance(&mut self, written: usize) {
        if let Some(frames) = &mut self.0 {
            frames.written += written;
        }
    }

    /// Returns the rest of the frame that the kernel has taken in part, if there is one.
    pub(super) fn rest_of_frame(&self) -> Vec<u8> {
        let Some(frames) = &self.0 else { return Vec::new() };
        let mut end = 0;
        while end < frames.written {
            end = encoder::end_of_frame(&frames.bytes, end);
        }
        frames.bytes[frames.written..end].to_vec()
    }

    /// Removes all frames, and keeps the storage.
    #[inline]
    pub(super) fn clear(&mut self) {
        if let Some(frames) = &mut self.0 {
            frames.bytes.clear();
            frames.written = 0;
        }
    }

    /// Removes the storage if it is larger than this number of bytes.
    pub(super) fn shrink_to(&mut self, max_capacity: usize) {
        if self.0.as_ref().is_some_and(|frames| frames.bytes.capacity() > max_capacity) {
            self.0 = None;
        }
    }
}
