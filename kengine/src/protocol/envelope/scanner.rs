//! Finds the ends of JSON values. The content of strings is read eight bytes at a time.

use std::borrow::Cow;

/// The message is not JSON. The position and the reason are determined later, off the fast path.
pub(super) struct Malformed;

/// A JSON value as it was written: its position in the message.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    /// Where it starts, in bytes.
    pub(super) at: usize,
    end: usize,
    /// Whether it is a string with escapes.
    has_escapes: bool,
}

impl Piece {
    /// Returns the value as it was written.
    pub(super) fn raw(self, text: &str) -> &str {
        // The scanner stops only before or after ASCII, so both ends are the start of a character.
        text.get(self.at..self.end).unwrap_or_default()
    }

    /// Returns the content of a string, or `None` if its escapes are malformed or are not Unicode.
    pub(super) fn text(self, text: &str) -> Option<Cow<'_, str>> {
        if self.has_escapes {
            serde_json::from_str(self.raw(text)).ok().map(Cow::Owned)
        } else {
            text.get(self.at + 1..self.end - 1).map(Cow::Borrowed)
        }
    }

    /// Whether this is a string with this content.
    #[inline]
    pub(super) fn is(self, text: &str, content: &str) -> bool {
        if self.has_escapes {
            self.text(text).as_deref() == Some(content)
        } else {
            text.as_bytes().get(self.at + 1..self.end - 1) == Some(content.as_bytes())
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
        self.text.as_bytes().get(self.at).copied()
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

    /// Skips what follows a member: a comma, or the bracket that ends the object. Returns whether it was a comma.
    pub(super) fn skip_comma(&mut self) -> Result<bool, Malformed> {
        self.skip_white_space();
        if self.skip(b'}') {
            return Ok(false);
        }
        self.expect(b',').map(|()| true)
    }

    /// Whether only white space follows.
    pub(super) fn is_at_end(&mut self) -> bool {
        self.skip_white_space();
        self.at == self.text.len()
    }

    /// Reads a string, which must not contain control characters. Its escapes need not be valid.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Piece, Malformed> {
        let start = self.at;
        self.expect(b'"')?;
        let mut has_escapes = false;
        loop {
            self.at += length_before(self.rest(), |bytes| marks_below(bytes, b' ') | marks_string_syntax(bytes));
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
        Ok(Piece { at: start, end: self.at, has_escapes })
    }

    /// Reads a value of any type.
    pub(super) fn value(&mut self) -> Result<Piece, Malformed> {
        let start = self.at;
        match self.peek() {
            Some(b'"') => return self.string(),
            Some(b'{' | b'[') => self.skip_nested()?,
            _ => self.skip_primitive()?,
        }
        Ok(self.piece_from(start))
    }

    /// Returns the piece from `start` to the current position.
    pub(super) fn piece_from(&self, start: usize) -> Piece {
        Piece { at: start, end: self.at, has_escapes: false }
    }

    /// Skips an object or an array. Brackets are counted, so deep nesting needs no stack.
    fn skip_nested(&mut self) -> Result<(), Malformed> {
        let bytes = self.text.as_bytes();
        let (mut at, mut depth) = (self.at, 0_usize);
        loop {
            let byte = *bytes.get(at).ok_or(Malformed)?;
            at += 1;
            match byte {
                b'"' => at = end_of_string(bytes, at).ok_or(Malformed)?,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    // Does not underflow: the first byte is an opening bracket, and the scan ends when the depth is 0.
                    depth -= 1;
                    if depth == 0 {
                        break;
                    }
                }
                _ => {}
            }
        }
        self.at = at;
        Ok(())
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

/// Returns the position after the quote that ends the string whose content starts at `at`, or `None` if there is none.
#[inline]
fn end_of_string(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += length_before(bytes.get(at..)?, marks_string_syntax);
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            // The byte after a backslash is escaped.
            _ => at += 2,
        }
    }
}

// Eight bytes are processed at a time, as one word whose lowest byte is the first one. The highest bit of a byte marks
// it.

/// Returns a word of eight equal bytes.
const fn eight(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Returns the number of bytes before the first one that `mark` marks.
#[inline]
fn length_before(bytes: &[u8], mark: impl Fn(u64) -> u64) -> usize {
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let marked = mark(u64::from_le_bytes(*chunk));
        if marked != 0 {
            return at + first(marked);
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    (at + first(mark(last_bytes(rest)))).min(bytes.len())
}

/// Returns fewer than eight bytes as a word, with zeros after the end. Not inlined, to keep the loop of
/// [`length_before`] small.
#[inline(never)]
fn last_bytes(rest: &[u8]) -> u64 {
    rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
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

/// Marks quotes and backslashes. Bytes after a marked byte may be marked too.
const fn marks_string_syntax(bytes: u64) -> u64 {
    let (quotes, backslashes) = (bytes ^ eight(b'"'), bytes ^ eight(b'\\'));
    (quotes.wrapping_sub(eight(1)) | backslashes.wrapping_sub(eight(1))) & !bytes & eight(0x80)
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
            let expected = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(8);
            assert_eq!(first(marks_string_syntax(word)), expected);
            assert_eq!(length_before(&bytes, marks_string_syntax), expected);
            assert_eq!(length_before(&bytes[..5], marks_string_syntax), expected.min(5));
            let expected = bytes.iter().position(|byte| *byte < b' ').unwrap_or(8);
            assert_eq!(first(marks_below(word, b' ')), expected);
        }
    }
}
