//! What one side of a session has received, and what it has sent that the other side may not have.

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::mem;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};

use crate::protocol::push::PushKey;
use crate::websocket::encoder;

/// After how many received messages they are acknowledged at the latest.
const ACK_EVERY: u64 = 64;
/// A longer frame is not copied together with others.
const MAX_COPIED: usize = 1024;
/// How much room may be unused among copied frames, in bytes.
const MAX_UNUSED: usize = 8 * 1024;
/// How many empty lists of messages a thread keeps, which take at most 730 KB. Further ones are freed.
const MAX_SPARE: usize = 64;
/// The largest capacity of a list that is kept, in messages. There is also room for at most [`MAX_UNUSED`] bytes of
/// copies.
const MAX_SPARE_CAPACITY: usize = 128;

thread_local! {
    /// Empty lists of messages. Sessions take them, so that one whose messages are all acknowledged has none, and
    /// allocates nothing when the next message is sent.
    #[expect(clippy::vec_box, reason = "the boxes are what is reused")]
    static SPARE: RefCell<Vec<Box<KeptMessages>>> = const { RefCell::new(Vec::new()) };
}

/// One side of a session: how many messages it has received, and the messages that it has sent and the other side has
/// not acknowledged. TCP keeps their order, so no message carries a number: both sides count.
///
/// This is all that is known about the messages of a session while its player is away.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    /// How many messages were received, over all connections of the session.
    received: u64,
    /// How many of them the other side knows to have arrived.
    told: u64,
    /// How many sent messages precede those in `kept`: they were acknowledged, or had to be forgotten.
    before: u64,
    /// Boxed and present only while a message is kept, so that an idle player takes little memory.
    kept: Option<Box<KeptMessages>>,
}

#[derive(Debug, Default)]
struct KeptMessages {
    runs: VecDeque<KeptRun>,
    /// How many messages the runs have.
    len: usize,
    /// The frames that were copied, one after another. At the start there may be some that are not kept any more.
    copied: Vec<u8>,
    /// Where the frames begin that are kept.
    copied_at: usize,
    /// The size of all frames, in bytes.
    size: usize,
    /// The size of those of them that no other session shares.
    own_size: usize,
}

/// One message, or several whose frames were copied. So nothing is allocated for a short answer.
#[derive(Debug)]
enum KeptRun {
    Frame(KeyedFrame),
    /// So many messages, whose frames have this size together and are next among those that were copied.
    Copies {
        len: usize,
        size: usize,
    },
}

/// A message of the server as a frame, which waits to be sent or is kept after that. A clone is the same frame in
/// memory.
#[derive(Clone, Debug)]
pub(crate) struct KeyedFrame(Arc<FrameContent>);

#[derive(Debug)]
struct FrameContent {
    bytes: Vec<u8>,
    /// The key of a `latest` push.
    key: Option<PushKey>,
    own_size: usize,
    /// Counts the frame until it is dropped, if several sessions may have it.
    _count: Option<Box<dyn fmt::Debug + Send + Sync>>,
}

/// The other side acknowledges more messages than were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AckAhead;

impl KeyedFrame {
    /// Returns a frame that only one session has in memory.
    pub(crate) fn own(bytes: Vec<u8>, key: Option<PushKey>) -> Self {
        let own_size = bytes.len();
        Self(Arc::new(FrameContent { bytes, key, own_size, _count: None }))
    }

    /// Returns a frame that several sessions may have in memory. `count` is dropped with it.
    pub(crate) fn shared(bytes: Vec<u8>, key: Option<PushKey>, count: impl fmt::Debug + Send + Sync + 'static) -> Self {
        Self(Arc::new(FrameContent { bytes, key, own_size: 0, _count: Some(Box::new(count)) }))
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// Returns the size of the frame, in bytes.
    #[inline]
    pub(crate) fn size(&self) -> usize {
        self.0.bytes.len()
    }

    /// Returns the key of a `latest` push.
    #[inline]
    pub(crate) fn key(&self) -> Option<&PushKey> {
        self.0.key.as_ref()
    }

    /// Returns the size of the frame, or 0 if several sessions may have it.
    #[inline]
    pub(crate) fn own_size(&self) -> usize {
        self.0.own_size
    }
}

impl KeptRun {
    fn key(&self) -> Option<&PushKey> {
        match self {
            Self::Frame(frame) => frame.key(),
            Self::Copies { .. } => None,
        }
    }
}

impl KeptMessages {
    fn push(&mut self, frame: KeyedFrame) {
        self.len += 1;
        self.size += frame.size();
        self.own_size += frame.own_size();
        self.runs.push_back(KeptRun::Frame(frame));
    }

    /// Adds copies of so many frames.
    fn push_copies(&mut self, frames: &[u8], more: usize) {
        self.len += more;
        self.size += frames.len();
        self.own_size += frames.len();
        self.copied.extend_from_slice(frames);
        match self.runs.back_mut() {
            Some(KeptRun::Copies { len, size }) => (*len, *size) = (*len + more, *size + frames.len()),
            _ => self.runs.push_back(KeptRun::Copies { len: more, size: frames.len() }),
        }
    }

    /// Takes a list that this thread has kept, or allocates one.
    #[expect(clippy::unnecessary_box_returns, reason = "the box is what is reused")]
    fn spare() -> Box<Self> {
        SPARE.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    /// Keeps an empty list for a session that will need one.
    fn keep(self: Box<Self>) {
        if self.runs.capacity() > MAX_SPARE_CAPACITY || self.copied.capacity() > MAX_UNUSED {
            return;
        }
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < MAX_SPARE {
                spare.push(self);
            }
        });
    }

    /// Removes this many messages from the front, or all. Returns how many were removed.
    fn remove(&mut self, messages: usize) -> usize {
        let removed = messages.min(self.len);
        let (mut left, mut size, mut own_size, mut copied) = (removed, 0, 0, 0);
        while left > 0
            && let Some(run) = self.runs.front_mut()
        {
            match run {
                KeptRun::Copies { len, size } if *len > left => {
                    let frames = &self.copied[self.copied_at + copied..];
                    let end = (0..left).fold(0, |end, _| encoder::end_of_frame(frames, end));
                    (*len, *size) = (*len - left, *size - end);
                    (left, copied) = (0, copied + end);
                    continue;
                }
                KeptRun::Copies { len, size } => (left, copied) = (left - *len, copied + *size),
                KeptRun::Frame(frame) => {
                    (left, size, own_size) = (left - 1, size + frame.size(), own_size + frame.own_size());
                }
            }
            self.runs.pop_front();
        }
        self.len -= removed;
        self.size -= size + copied;
        self.own_size -= own_size + copied;
        self.copied_at += copied;
        let rest = self.copied.len() - self.copied_at;
        if rest <= self.copied_at {
            // What is moved is at most as long as what was removed since it was moved last.
            self.copied.drain(..mem::take(&mut self.copied_at));
            if self.copied.capacity() > 2 * rest + MAX_UNUSED {
                self.copied.shrink_to(rest);
            }
        }
        removed
    }
}

impl Exchange {
    /// Counts a message that was received whole.
    #[inline]
    pub(crate) fn record_received(&mut self) {
        self.received += 1;
    }

    /// Returns how many messages were received.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Whether so many messages were received that they must be acknowledged now.
    #[inline]
    pub(crate) fn must_acknowledge(&self) -> bool {
        self.received - self.told >= ACK_EVERY
    }

    /// Whether messages were received that the other side does not know to have arrived.
    #[inline]
    pub(crate) fn has_unacknowledged_input(&self) -> bool {
        self.received > self.told
    }

    /// Returns the count to acknowledge with, unless the other side knows it already.
    pub(crate) fn take_ack(&mut self) -> Option<u64> {
        self.has_unacknowledged_input().then(|| {
            self.told = self.received;
            self.received
        })
    }

    /// Keeps a message that is sent, until it is acknowledged.
    #[inline]
    pub(crate) fn record_sent(&mut self, message: KeyedFrame) {
        self.kept.get_or_insert_with(KeptMessages::spare).push(message);
    }

    /// Keeps copies of messages that are sent, until they are acknowledged, except for those with the payload
    /// `uncounted`. `frames` are the frames of the server, one after another.
    pub(crate) fn record_copies(&mut self, mut frames: &[u8], uncounted: &[u8]) {
        while !frames.is_empty() {
            let (mut len, mut end) = (0, 0);
            let next = loop {
                if end == frames.len() {
                    break None;
                }
                let after = encoder::end_of_frame(frames, end);
                let is_counted = !encoder::has_payload(&frames[end..after], uncounted);
                if !is_counted || after - end > MAX_COPIED {
                    break Some((after, is_counted));
                }
                (len, end) = (len + 1, after);
            };
            if len > 0 {
                self.kept.get_or_insert_with(KeptMessages::spare).push_copies(&frames[..end], len);
            }
            let Some((after, is_counted)) = next else { return };
            if is_counted {
                self.record_sent(KeyedFrame::own(frames[end..after].to_vec(), None));
            }
            frames = &frames[after..];
        }
    }

    /// Whether this is one frame that counts, and that is short enough to be copied together with others. The frame
    /// with the payload `uncounted` does not count.
    #[inline]
    pub(crate) fn counts_one_copy(frame: &[u8], uncounted: &[u8]) -> bool {
        frame.len() <= MAX_COPIED
            && frame.len() > 1
            && encoder::end_of_frame(frame, 0) == frame.len()
            && !encoder::has_payload(frame, uncounted)
    }

    /// Keeps copies of this many messages that are sent, until they are acknowledged. `frames` are their frames, one
    /// after another, each of which [counts](Self::counts_one_copy).
    #[inline]
    pub(crate) fn record_counted_copies(&mut self, frames: &[u8], messages: usize) {
        self.kept.get_or_insert_with(KeptMessages::spare).push_copies(frames, messages);
    }

    /// Returns how many messages are kept, and their size in bytes with the headers of their frames.
    #[inline]
    pub(crate) fn extent(&self) -> (usize, usize) {
        self.kept.as_ref().map_or((0, 0), |kept| (kept.len, kept.size))
    }

    /// Returns how many messages are kept.
    pub(crate) fn len(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.len)
    }

    /// Returns the size of the messages that are kept, in bytes, with the headers of their frames.
    pub(crate) fn size(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.size)
    }

    /// Returns the size of those of them that no other session shares.
    pub(crate) fn own_size(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.own_size)
    }

    /// Forgets the messages that the other side says to have received.
    ///
    /// # Errors
    ///
    /// It says to have received more than was sent. Then nothing is forgotten.
    pub(crate) fn acknowledge(&mut self, received: u64) -> Result<(), AckAhead> {
        if received > self.before + self.len() as u64 {
            return Err(AckAhead);
        }
        if let Some(more) = received.checked_sub(self.before).filter(|more| *more > 0) {
            // Always fits: it is not more than are kept.
            self.forget(usize::try_from(more).unwrap_or(usize::MAX));
        }
        Ok(())
    }

    /// Forgets the oldest message although it may not have arrived. From now on the session can be resumed only if it
    /// has arrived. Returns `false` if none is kept.
    pub(crate) fn forget_oldest(&mut self) -> bool {
        self.forget(1)
    }

    /// Forgets this many messages, or all. Returns `false` if none is kept.
    fn forget(&mut self, messages: usize) -> bool {
        let Some(kept) = &mut self.kept else { return false };
        self.before += kept.remove(messages) as u64;
        if kept.len == 0 {
            self.kept.take().into_iter().for_each(KeptMessages::keep);
        }
        true
    }

    /// Whether the session can go on with a client that says to have received this many messages.
    pub(crate) fn can_resume(&self, received: u64) -> bool {
        (self.before..=self.before + self.len() as u64).contains(&received)
    }

    /// Goes on over a new connection, on which the other side says what it has received and is told what this side has.
    /// What it lacks must be sent again: [`unacknowledged`](Self::unacknowledged). Of the `latest` pushes of a key only
    /// the newest is, and none if a newer one waits to be sent: its key is in `waiting`. Counting goes on from what was
    /// received, so the other side counts only what really comes.
    ///
    /// Returns `false` if that cannot be: the other side says to have received more than was sent, or messages that it
    /// lacks were forgotten.
    pub(crate) fn resume(&mut self, received: u64, waiting: HashSet<PushKey>) -> bool {
        if !self.can_resume(received) || self.acknowledge(received).is_err() {
            return false;
        }
        self.told = self.received;
        let mut newer = waiting;
        let Some(kept) = &mut self.kept else { return true };
        let (mut len, mut size, mut own_size) = (kept.len, kept.size, kept.own_size);
        let is_newest: Vec<_> = kept
            .runs
            .iter()
            .rev()
            .map(|run| {
                let is_newest = run.key().is_none_or(|key| newer.insert(key.clone()));
                if let KeptRun::Frame(frame) = run
                    && !is_newest
                {
                    (len, size, own_size) = (len - 1, size - frame.size(), own_size - frame.own_size());
                }
                is_newest
            })
            .collect();
        let mut is_newest = is_newest.into_iter().rev();
        kept.runs.retain(|_| is_newest.next().unwrap_or(true));
        (kept.len, kept.size, kept.own_size) = (len, size, own_size);
        if kept.len == 0 {
            self.kept = None;
        }
        true
    }

    /// Returns the exchange as bytes, for another node.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let keys = self.unacknowledged().map(|(_, key)| 8 + key.map_or(0, |key| key.len()));
        let mut bytes = Vec::with_capacity(16 + self.size() + keys.sum::<usize>());
        bytes.put_u64(self.received);
        bytes.put_u64(self.before);
        for (frame, key) in self.unacknowledged() {
            bytes.put_u32(length_of(frame));
            // 0 stands for no key.
            bytes.put_u32(key.map_or(0, |key| length_of(key).saturating_add(1)));
            bytes.extend_from_slice(frame);
            bytes.extend_from_slice(key.map_or(&[], |key| key));
        }
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) has written. No session of this node shares the frames. `None` if it is
    /// invalid.
    pub(crate) fn from_bytes(mut bytes: Bytes) -> Option<Self> {
        let (received, before) = (bytes.try_get_u64().ok()?, bytes.try_get_u64().ok()?);
        // No client reaches such counts, and no sum with them may overflow.
        if received.max(before) > u64::MAX / 2 {
            return None;
        }
        let mut exchange = Self { received, before, ..Self::default() };
        while !bytes.is_empty() {
            let (length, key_length) = (bytes.try_get_u32().ok()?, bytes.try_get_u32().ok()?);
            // Copied, because each of them alone is kept for a while.
            let frame = take_part(&mut bytes, length)?.to_vec();
            let key = match key_length.checked_sub(1) {
                Some(length) => Some(PushKey::from(&take_part(&mut bytes, length)?[..])),
                None => None,
            };
            exchange.record_sent(KeyedFrame::own(frame, key));
        }
        Some(exchange)
    }

    /// Appends the frames that are kept, in the order in which they were sent.
    pub(crate) fn write_unacknowledged(&self, out: &mut Vec<u8>) {
        self.unacknowledged().for_each(|(frame, _)| out.extend_from_slice(frame));
    }

    /// Returns the frames that are kept, in the order in which they were sent, and the keys of the `latest` pushes.
    fn unacknowledged(&self) -> impl Iterator<Item = (&[u8], Option<&PushKey>)> {
        self.kept.iter().flat_map(|kept| {
            let mut copied = &kept.copied[kept.copied_at..];
            kept.runs.iter().flat_map(move |run| {
                let (frame, part) = match run {
                    KeptRun::Frame(frame) => (Some((frame.bytes(), frame.key())), &[][..]),
                    KeptRun::Copies { size, .. } => {
                        let part;
                        (part, copied) = copied.split_at(*size);
                        (None, part)
                    }
                };
                frame.into_iter().chain(encoder::frames(part).map(|frame| (frame, None)))
            })
        })
    }
}

/// Takes this many bytes from the front. `None` if there are fewer.
fn take_part(bytes: &mut Bytes, length: u32) -> Option<Bytes> {
    let length = usize::try_from(length).ok().filter(|length| *length <= bytes.len())?;
    Some(bytes.split_to(length))
}

/// Returns a length that was limited to far less.
fn length_of(part: &[u8]) -> u32 {
    u32::try_from(part.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use fastwebsockets::OpCode;

    use super::*;

    fn exchange(frames: &[(&str, Option<&str>)]) -> Exchange {
        let mut exchange = Exchange::default();
        for (frame, key) in frames {
            match key {
                Some(key) => {
                    let key = PushKey::from(key.as_bytes());
                    exchange.record_sent(KeyedFrame::shared(frame.as_bytes().to_vec(), Some(key), ()));
                }
                None => exchange.record_sent(KeyedFrame::own(frame.as_bytes().to_vec(), None)),
            }
        }
        exchange
    }

    fn kept(exchange: &Exchange) -> Vec<String> {
        // Those with a key are shared.
        let sizes =
            exchange.unacknowledged().map(|(frame, key)| (frame.len(), frame.len() * usize::from(key.is_none())));
        let (size, own) = sizes.fold((0, 0), |(size, own), (more, more_own)| (size + more, own + more_own));
        assert_eq!((exchange.size(), exchange.own_size()), (size, own));
        exchange.unacknowledged().map(|(frame, _)| String::from_utf8(frame.to_vec()).unwrap()).collect()
    }

    #[test]
    fn copies_of_frames_are_kept_in_order_and_their_room_is_freed() {
        const FRAMES: usize = 300;
        let frame = |number: usize| {
            let mut frame = Vec::new();
            let payload = vec![u8::try_from(number % 251).unwrap(); 1 + number * 7 % (MAX_COPIED + 100)];
            encoder::write_frame(&mut frame, OpCode::Text, &payload);
            frame
        };
        let mut uncounted = Vec::new();
        encoder::write_frame(&mut uncounted, OpCode::Text, b"pong");
        for at_once in [1, 2, 5, 300] {
            let mut exchange = Exchange::default();
            for first in (0..FRAMES).step_by(at_once) {
                let frames: Vec<_> =
                    (first..first + at_once).flat_map(|number| [frame(number), uncounted.clone()]).collect();
                if first % 3 == 0 && at_once == 1 {
                    exchange.record_sent(KeyedFrame::shared(frame(first), None, ()));
                } else {
                    exchange.record_copies(&frames.concat(), b"pong");
                }
            }
            for forgotten in (0..FRAMES).filter(|forgotten| forgotten % 5 < 2) {
                assert_eq!(exchange.acknowledge(forgotten as u64), Ok(()));
                let mut out = Vec::new();
                exchange.write_unacknowledged(&mut out);
                assert_eq!(out, (forgotten..FRAMES).flat_map(frame).collect::<Vec<_>>());
                let kept = exchange.kept.as_ref().unwrap();
                let copied = kept.copied.len() - kept.copied_at;
                assert!(kept.copied_at <= copied && kept.copied.capacity() <= 4 * (copied + MAX_UNUSED), "{forgotten}");
                assert_eq!((kept.size, kept.len), (out.len(), FRAMES - forgotten));
            }
            assert_eq!(exchange.acknowledge(FRAMES as u64), Ok(()));
            assert!(exchange.kept.is_none());
        }
    }

    #[test]
    fn what_is_acknowledged_is_forgotten() {
        let mut exchange = exchange(&[("a", None), ("bb", None), ("ccc", None)]);
        assert_eq!(exchange.acknowledge(4), Err(AckAhead));
        assert_eq!(kept(&exchange), ["a", "bb", "ccc"]);
        for (received, rest) in [(0, &["a", "bb", "ccc"][..]), (2, &["ccc"]), (1, &["ccc"]), (3, &[])] {
            assert_eq!(exchange.acknowledge(received), Ok(()));
            assert_eq!(kept(&exchange), rest, "{received}");
        }
        assert!(exchange.kept.is_none());
    }

    #[test]
    fn a_session_is_not_resumed_in_part() {
        for (received, can_resume) in [(0, false), (1, true), (3, true), (4, false), (u64::MAX, false)] {
            let mut exchange = exchange(&[("a", None), ("b", None), ("c", None)]);
            assert!(exchange.forget_oldest());
            assert_eq!(exchange.resume(received, HashSet::new()), can_resume, "{received}");
        }
    }

    #[test]
    fn an_exchange_is_read_as_it_was_written() {
        let mut written = exchange(&[("lost", None), ("a", Some("x")), ("", None), ("ccc", Some(""))]);
        written.forget_oldest();
        (0..3).for_each(|_| written.record_received());
        let bytes = written.to_bytes();
        let read = Exchange::from_bytes(bytes.clone().into()).expect("an exchange");
        assert_eq!((read.received, read.before, read.own_size()), (3, 1, 4));
        let messages = |exchange: &Exchange| {
            let owned = exchange.unacknowledged().map(|(frame, key)| (frame.to_vec(), key.cloned()));
            owned.collect::<Vec<_>>()
        };
        assert_eq!(messages(&read), messages(&written));
        for too_large in [0, 8] {
            let mut bytes = bytes.clone();
            bytes[too_large..too_large + 8].fill(0xff);
            assert!(Exchange::from_bytes(bytes.into()).is_none(), "the count at {too_large}");
        }
        for length in 0..bytes.len() {
            let cut = Exchange::from_bytes(Bytes::copy_from_slice(&bytes[..length]));
            assert!(cut.is_none_or(|cut| cut.len() < written.len()), "{length} bytes");
        }
    }

    #[test]
    fn only_the_newest_of_the_latest_pushes_is_sent_again() {
        let mut exchange = exchange(&[
            ("x1", Some("x")),
            ("x2", Some("x")),
            ("said", None),
            ("y1", Some("y")),
            ("x3", Some("x")),
            ("said", None),
        ]);
        assert!(exchange.resume(1, HashSet::new()));
        assert_eq!(kept(&exchange), ["said", "y1", "x3", "said"]);
        // The other side counts what comes.
        assert_eq!(exchange.acknowledge(6), Err(AckAhead));
        assert!(exchange.resume(3, HashSet::new()));
        assert_eq!(kept(&exchange), ["x3", "said"]);
        assert!(exchange.resume(3, HashSet::from([PushKey::from(*b"x")])));
        assert_eq!(kept(&exchange), ["said"]);
    }

    #[test]
    fn messages_are_acknowledged_once() {
        let mut exchange = Exchange::default();
        assert_eq!(exchange.take_ack(), None);
        for received in 1..=ACK_EVERY {
            assert!(!exchange.must_acknowledge(), "{received}");
            exchange.record_received();
        }
        assert!(exchange.must_acknowledge());
        assert_eq!(exchange.take_ack(), Some(ACK_EVERY));
        assert_eq!(exchange.take_ack(), None);
        exchange.record_received();
        assert!(exchange.resume(0, HashSet::new()));
        assert_eq!(exchange.take_ack(), None, "the other side is told when the session is resumed");
    }
}
