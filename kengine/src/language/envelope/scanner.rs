//! The ends of JSON's values, found eight bytes at a time.

use std::borrow::Cow;

/// The message is not JSON. Where and why is found out off the fast path.
pub(super) struct Malformed;

/// A string or another value as it stands in the message.
#[derive(Clone, Copy)]
pub(super) struct Piece<'a> {
    pub(super) raw: &'a str,
    /// Where it starts in the message, in bytes.
    pub(super) at: usize,
    /// A string with escapes.
    escaped: bool,
}

impl<'a> Piece<'a> {
    /// What a string says; `None` if its escapes are malformed or make no Unicode.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        if self.escaped {
            serde_json::from_str(self.raw).ok().map(Cow::Owned)
        } else {
            self.raw.strip_prefix('"')?.strip_suffix('"').map(Cow::Borrowed)
        }
    }
}

/// A place in a message.
///
/// It looks for the ends of values, not for faults inside them. That is safe: where a valid value starts,
/// its end is found exactly. A string ends at the first quote that is not the byte after a backslash, since
/// in an escape that byte is part of it. The brackets of an object or an array balance once the strings
/// inside are passed over. A number or a word holds none of the bytes that may follow it. So if what was
/// found is not valid, no valid value starts there, and the whole message is not JSON.
pub(super) struct Scanner<'a> {
    pub(super) text: &'a str,
    /// In bytes. It stops only before or behind ASCII, hence between characters.
    pub(super) at: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.rest().first().copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// Passes over `byte` if it comes next.
    pub(super) fn skip(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub(super) fn skip_white_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    pub(super) fn string(&mut self) -> Result<Piece<'a>, Malformed> {
        let start = self.at;
        let escaped = self.skip_string()?;
        self.piece(start, escaped)
    }

    pub(super) fn value(&mut self) -> Result<Piece<'a>, Malformed> {
        let start = self.at;
        let mut escaped = false;
        match self.peek() {
            Some(b'"') => escaped = self.skip_string()?,
            Some(b'{' | b'[') => self.at += Nesting::default().length(self.rest()).ok_or(Malformed)?,
            _ => self.skip_primitive()?,
        }
        self.piece(start, escaped)
    }

    /// From `start` to here.
    pub(super) fn piece(&self, start: usize, escaped: bool) -> Result<Piece<'a>, Malformed> {
        let raw = self.text.get(start..self.at).ok_or(Malformed)?;
        Ok(Piece { raw, at: start, escaped })
    }

    /// Passes over a string without control characters; true if it has escapes, whatever they are.
    fn skip_string(&mut self) -> Result<bool, Malformed> {
        let mut escaped = false;
        if !self.skip(b'"') {
            return Err(Malformed);
        }
        loop {
            self.at += plain_length(self.rest());
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                }
                _ => return Err(Malformed),
            }
        }
        self.at += 1;
        Ok(escaped)
    }

    /// Passes over a number or a word, up to whatever may follow it.
    fn skip_primitive(&mut self) -> Result<(), Malformed> {
        let follows = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
        let rest = self.rest();
        match rest.iter().position(follows).unwrap_or(rest.len()) {
            0 => Err(Malformed),
            length => {
                self.at += length;
                Ok(())
            }
        }
    }
}

/// Where the reader of an object or an array stands. It counts instead of recursing: depth costs no stack.
#[derive(Default)]
struct Nesting {
    depth: usize,
    /// All ones if the next byte is in a string, else zero.
    inside: u64,
    /// The mark of the next byte, if a backslash before it escapes it.
    escaped: u64,
}

impl Nesting {
    /// How long the object or array is with which `bytes` starts; `None` if it does not end.
    fn length(mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            if let Some(last) = self.take(eight_at(bytes, at)?) {
                return Some(at + last + 1);
            }
            at += 8;
        }
    }

    /// Takes eight bytes; says at which of them the outermost bracket closes.
    #[inline]
    fn take(&mut self, bytes: u64) -> Option<usize> {
        let backslashes = marks_or_more(bytes, b'\\') | self.escaped;
        if marks_or_more(bytes, b'"') | backslashes | !self.inside == 0 {
            return None; // the middle of a long string
        }
        let mut quotes = marks(bytes, b'"');
        if backslashes != 0 {
            quotes &= !self.escapes(bytes);
        }
        // The product counts in each byte the quotes up to it: an odd count is inside, a closing quote outside.
        let inside = ((quotes >> 7).wrapping_mul(eight(1)) << 7) ^ self.inside;
        self.inside = if inside >> 63 == 1 { u64::MAX } else { 0 };
        // The four brackets are alike but for three bits, as are `Y`, `_`, `y` and DEL.
        let mut brackets = marks(bytes & eight(!0b10_0110), b'{' & !0b10_0110) & !inside;
        while brackets != 0 {
            let index = first(brackets);
            match bytes.to_le_bytes().get(index) {
                Some(b'{' | b'[') => self.depth += 1,
                Some(b'}' | b']') => {
                    // Never below zero: an opening bracket comes first, and zero is the end.
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Some(index);
                    }
                }
                _ => {}
            }
            brackets &= brackets - 1;
        }
        None
    }

    /// Marks the escaped bytes among the next eight.
    #[inline]
    fn escapes(&mut self, bytes: u64) -> u64 {
        let mut escaped = self.escaped;
        let mut backslashes = marks(bytes, b'\\') & !escaped;
        self.escaped = 0;
        while backslashes != 0 {
            let backslash = backslashes & backslashes.wrapping_neg();
            self.escaped = backslash >> 56;
            escaped |= backslash << 8;
            backslashes &= !(backslash | escaped);
        }
        escaped
    }
}

// Eight bytes at a time, without vector instructions: a mark is the highest bit of a byte in a word whose
// lowest byte comes first.

/// The word of eight times `byte`.
const fn eight(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The eight bytes at `at`, with zeros for those behind the end; `None` at the end.
#[inline]
fn eight_at(bytes: &[u8], at: usize) -> Option<u64> {
    let rest = bytes.get(at..)?;
    match rest.first_chunk() {
        Some(chunk) => Some(u64::from_le_bytes(*chunk)),
        None if rest.is_empty() => None,
        None => Some(last_bytes(rest)),
    }
}

/// Apart from [`eight_at`], whose loops are small without it.
#[inline(never)]
fn last_bytes(rest: &[u8]) -> u64 {
    rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// How many bytes come before the first quote, backslash or control character.
#[inline]
fn plain_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(next) = eight_at(bytes, at) {
        let ends = marks_below(next, b' ') | marks_or_more(next, b'"') | marks_or_more(next, b'\\');
        if ends != 0 {
            return at + first(ends);
        }
        at += 8;
    }
    bytes.len()
}

/// The index of the first marked byte.
const fn first(marked: u64) -> usize {
    marked.trailing_zeros() as usize / 8
}

/// Marks the bytes below `limit`, which is at most 128, and maybe bytes behind one of them, from which the
/// subtraction borrowed.
const fn marks_below(bytes: u64, limit: u8) -> u64 {
    bytes.wrapping_sub(eight(limit)) & !bytes & eight(0x80)
}

/// Marks the bytes that are `byte`, and maybe bytes behind one of them; cheaper than [`marks`].
const fn marks_or_more(bytes: u64, byte: u8) -> u64 {
    marks_below(bytes ^ eight(byte), 1)
}

/// Marks the bytes that are `byte`.
const fn marks(bytes: u64, byte: u8) -> u64 {
    let different = bytes ^ eight(byte);
    !(((different & eight(0x7f)) + eight(0x7f)) | different | eight(0x7f))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::envelope::tests::Random;

    #[test]
    fn eight_bytes_at_a_time_are_marked_as_one_by_one() {
        let mut random = Random(1);
        for _ in 0..20_000 {
            // Few different bytes, near to each other: borrows and carries meet.
            let bytes: [u8; 8] = std::array::from_fn(|_| {
                random.pick(&[0, 1, 0x1f, b' ', b'!', b'"', b'#', b'[', b'\\', b']', 0x7f, 0x80, 0xa2, 0xff])
            });
            let word = u64::from_le_bytes(bytes);
            for byte in *b"\"\\[ " {
                let expected: u64 = (0..8).filter(|i| bytes[*i] == byte).map(|i| 0x80 << (8 * i)).sum();
                assert_eq!(marks(word, byte), expected);
                assert_eq!(marks_or_more(word, byte).trailing_zeros(), expected.trailing_zeros());
            }
            let plain = bytes.iter().take_while(|byte| !matches!(byte, 0..0x20 | b'"' | b'\\')).count();
            assert_eq!(plain_length(&bytes), plain);
            assert_eq!(plain_length(&bytes[..5]), plain.min(5));
        }
    }
}
