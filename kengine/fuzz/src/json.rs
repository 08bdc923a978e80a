//! The grammar of JSON (RFC 8259), read independently of kengine and of serde.

use std::ops::Range;

/// One member of an object, as it was written.
#[derive(Debug)]
pub struct Member {
    /// `None` if the name has half of a surrogate pair.
    pub name: Option<String>,
    pub value: Range<usize>,
}

/// A JSON text.
#[derive(Debug)]
pub struct Document {
    /// Where the value is in the text, without the white space around it.
    pub value: Range<usize>,
    /// The members of the value if it is an object.
    pub members: Option<Vec<Member>>,
}

/// Reads a whole text. Returns `None` if it is not JSON.
pub fn read(text: &str) -> Option<Document> {
    let mut reader = Reader { bytes: text.as_bytes(), at: 0 };
    reader.white_space();
    let start = reader.at;
    let members = if reader.peek() == Some(b'{') {
        let mut members = Vec::new();
        reader.object(&mut |name, value| members.push(Member { name, value }))?;
        Some(members)
    } else {
        reader.value()?;
        None
    };
    let value = start..reader.at;
    reader.white_space();
    (reader.at == text.len()).then_some(Document { value, members })
}

/// Decodes a string with its quotes. Returns `None` if it is not a string, or has half of a surrogate pair.
pub fn string(text: &str) -> Option<String> {
    Reader { bytes: text.as_bytes(), at: 0 }.string()?
}

struct Reader<'t> {
    bytes: &'t [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    fn skip(&mut self, allowed: &[u8]) -> bool {
        let found = self.peek().is_some_and(|byte| allowed.contains(&byte));
        self.at += usize::from(found);
        found
    }

    fn white_space(&mut self) {
        while self.skip(b" \t\n\r") {}
    }

    fn value(&mut self) -> Option<()> {
        match self.peek()? {
            b'{' => self.object(&mut |_, _| {}),
            b'[' => self.array(),
            b'"' => self.string().map(drop),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }

    fn object(&mut self, member: &mut dyn FnMut(Option<String>, Range<usize>)) -> Option<()> {
        self.expect(b'{')?;
        self.white_space();
        if self.skip(b"}") {
            return Some(());
        }
        loop {
            self.white_space();
            let name = self.string()?;
            self.white_space();
            self.expect(b':')?;
            self.white_space();
            let start = self.at;
            self.value()?;
            member(name, start..self.at);
            self.white_space();
            match self.next()? {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    fn array(&mut self) -> Option<()> {
        self.expect(b'[')?;
        self.white_space();
        if self.skip(b"]") {
            return Some(());
        }
        loop {
            self.white_space();
            self.value()?;
            self.white_space();
            match self.next()? {
                b',' => {}
                b']' => return Some(()),
                _ => return None,
            }
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        word.iter().try_for_each(|&byte| self.expect(byte))
    }

    fn number(&mut self) -> Option<()> {
        self.skip(b"-");
        if !self.skip(b"0") {
            self.digits()?;
        }
        if self.skip(b".") {
            self.digits()?;
        }
        if self.skip(b"eE") {
            self.skip(b"+-");
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.skip(b"0123456789") {}
        (self.at > start).then_some(())
    }

    /// Reads a string. The outer `None` means that it is malformed, the inner one that it is not Unicode.
    fn string(&mut self) -> Option<Option<String>> {
        self.expect(b'"')?;
        let mut units = Vec::new();
        loop {
            let start = self.at;
            match self.next()? {
                b'"' => return Some(String::from_utf16(&units).ok()),
                b'\\' => units.push(self.escape()?),
                ..b' ' => return None,
                _ => {
                    while self.peek().is_some_and(|byte| byte & 0xc0 == 0x80) {
                        self.at += 1;
                    }
                    // The reader stops only before or after characters of the text, which is a `str`.
                    units.extend(str::from_utf8(&self.bytes[start..self.at]).unwrap().encode_utf16());
                }
            }
        }
    }

    fn escape(&mut self) -> Option<u16> {
        Some(match self.next()? {
            byte @ (b'"' | b'\\' | b'/') => byte.into(),
            b'b' => 8,
            b'f' => 12,
            b'n' => 10,
            b'r' => 13,
            b't' => 9,
            b'u' => {
                let digits = self.bytes.get(self.at..self.at + 4)?;
                self.at += 4;
                digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)? as u16))?
            }
            _ => return None,
        })
    }
}
