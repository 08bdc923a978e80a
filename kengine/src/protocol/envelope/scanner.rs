//! Finds the ends of JSON values, eight bytes at a time.

use std::borrow::Cow;

/// The message is not JSON. The position and the reason are determined later, off the fast path.
pub(super) struct Malformed;

/// A JSON value as it was written.
#[derive(Clone, Copy)]
pub(super) struct Piece<'a> {
    pub(super) raw: &'a str,
    /// Where it starts in the message, in bytes.
    pub(super) at: usize,
    /// Whether it is a string with escapes.
    has_escapes: bool,
}

impl<'a> Piece<'a> {
    /// Returns the content of a string, or `None` if its escapes are malformed or are not Unicode.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        if self.has_escapes {
            serde_json::from_str(self.raw).ok().map(Cow::Owned)
        } else {
            self.raw.strip_prefix('"')?.strip_suffix('"').map(Cow::Borrowed)
        }
    }
}

/// A position in a message.
///
/// The scanner finds the end of a value without validating the value. This is correct because it finds the exact end of
/// every valid value. A string ends at the first quote that is not escaped; the scanner skips each backslash and the
/// byte after it. The brackets of an object or an array balance outside of strings. A number or a word contains none of
/// the bytes that may follow it. So if the scanned bytes are invalid, no valid value starts there, and the message is
/// not JSON.
pub(super) struct Scanner<'a> {
    pub(super) text: &'a str,
    /// The position of the next byte. The scanner stops only before or after ASCII, so this is the start of a
    /// character.
    pub(super) at: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.rest().first().copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// Skips the next byte if it is `byte`. Returns whether it was.
    pub(super) fn skip(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Skips the next byte, which must be `byte`.
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.skip(byte) { Ok(()) } else { Err(Malformed) }
    }

    pub(super) fn skip_white_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Reads a string.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Piece<'a>, Malformed> {
        let start = self.at;
        let has_escapes = self.skip_string()?;
        self.piece(start, has_escapes)
    }

    /// Reads a value of any type.
    pub(super) fn value(&mut self) -> Result<Piece<'a>, Malformed> {
        let start = self.at;
        let mut has_escapes = false;
        match self.peek() {
            Some(b'"') => has_escapes = self.skip_string()?,
            Some(b'{' | b'[') => self.at += Nesting::default().length(self.rest()).ok_or(Malformed)?,
            _ => self.skip_primitive()?,
        }
        self.piece(start, has_escapes)
    }

    /// Returns the piece from `start` to the current position.
    pub(super) fn piece(&self, start: usize, has_escapes: bool) -> Result<Piece<'a>, Malformed> {
        let raw = self.text.get(start..self.at).ok_or(Malformed)?;
        Ok(Piece { raw, at: start, has_escapes })
    }

    /// Skips a string, which must not contain control characters. Returns whether it has escapes, valid or not.
    #[inline]
    fn skip_string(&mut self) -> Result<bool, Malformed> {
        self.expect(b'"')?;
        let mut has_escapes = false;
        loop {
            self.at += plain_length(self.rest());
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    has_escapes = true;
                    self.at += 2;
                }
                _ => return Err(Malformed),
            }
        }
        self.at += 1;
        Ok(has_escapes)
    }

    /// Skips a number or a word, up to any byte that may follow it.
    fn skip_primitive(&mut self) -> Result<(), Malformed> {
        let follows = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
        let rest = self.rest();
        let length = rest.iter().position(follows).unwrap_or(rest.len());
        self.at += length;
        if length > 0 { Ok(()) } else { Err(Malformed) }
    }
}

/// The state inside an object or an array. Brackets are counted, so deep nesting needs no stack.
#[derive(Default)]
struct Nesting {
    depth: usize,
    /// All ones if the next byte is inside a string, otherwise zero.
    inside: u64,
    /// Marks the next byte if it follows a backslash that escapes it, otherwise zero.
    escaped: u64,
}

impl Nesting {
    /// Returns the length of the object or array at the start of `bytes`, or `None` if it does not end.
    fn length(mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            if let Some(last) = self.take(eight_at(bytes, at)?) {
                return Some(at + last + 1);
            }
            at += 8;
        }
    }

    /// Processes the next eight bytes. Returns the index of the byte that closes the outermost bracket, if there is
    /// one.
    #[inline]
    fn take(&mut self, bytes: u64) -> Option<usize> {
        let backslashes = marks_or_more(bytes, b'\\') | self.escaped;
        if marks_or_more(bytes, b'"') | backslashes | !self.inside == 0 {
            return None; // Inside a long string.
        }
        let mut quotes = marks(bytes, b'"');
        if backslashes != 0 {
            quotes &= !self.escapes(bytes);
        }
        // Each byte of the product counts the quotes up to that byte. An odd count means inside a string; a closing
        // quote counts as outside.
        let inside = ((quotes >> 7).wrapping_mul(eight(1)) << 7) ^ self.inside;
        self.inside = if inside >> 63 == 1 { u64::MAX } else { 0 };
        // The four brackets differ only in three bits, which also makes `Y`, `_`, `y` and DEL match.
        let mut brackets = marks(bytes & eight(!0b10_0110), b'{' & !0b10_0110) & !inside;
        while brackets != 0 {
            let index = first(brackets);
            match bytes.to_le_bytes().get(index) {
                Some(b'{' | b'[') => self.depth += 1,
                Some(b'}' | b']') => {
                    // Does not underflow: the first bracket is an opening one, and the scan ends when the depth is 0.
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

// Eight bytes are processed at a time, as one word whose lowest byte is the first one. The highest bit of a byte marks
// it.

/// Returns a word of eight equal bytes.
const fn eight(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Returns the eight bytes at `at`, with zeros after the end, or `None` at the end.
#[inline]
fn eight_at(bytes: &[u8], at: usize) -> Option<u64> {
    let rest = bytes.get(at..)?;
    match rest.first_chunk() {
        Some(chunk) => Some(u64::from_le_bytes(*chunk)),
        None if rest.is_empty() => None,
        None => Some(last_bytes(rest)),
    }
}

/// Returns fewer than eight bytes as a word, with zeros after the end. Not inlined, to keep the loops around
/// [`eight_at`] small.
#[inline(never)]
fn last_bytes(rest: &[u8]) -> u64 {
    rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Returns the number of bytes before the first quote, backslash or control character.
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

/// Returns the index of the first marked byte.
const fn first(marked: u64) -> usize {
    marked.trailing_zeros() as usize / 8
}

/// Marks the bytes below `limit`, which is at most 128. Bytes after a marked byte may be marked too, because the
/// subtraction borrows from them.
const fn marks_below(bytes: u64, limit: u8) -> u64 {
    bytes.wrapping_sub(eight(limit)) & !bytes & eight(0x80)
}

/// Marks the bytes equal to `byte`. Bytes after a marked byte may be marked too. Cheaper than [`marks`].
const fn marks_or_more(bytes: u64, byte: u8) -> u64 {
    marks_below(bytes ^ eight(byte), 1)
}

/// Marks the bytes equal to `byte`.
const fn marks(bytes: u64, byte: u8) -> u64 {
    let different = bytes ^ eight(byte);
    !(((different & eight(0x7f)) + eight(0x7f)) | different | eight(0x7f))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::envelope::tests::Random;

    #[test]
    fn words_are_marked_like_single_bytes() {
        let mut random = Random(1);
        for _ in 0..20_000 {
            // The values are few and close to each other, so that borrows and carries are frequent.
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
