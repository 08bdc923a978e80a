//! Compares and builds text in constant evaluation, where `==` on strings and `format!` are not available.

/// Whether two strings are equal.
pub(crate) const fn equal(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// A text that is built at compile time.
pub(crate) struct ConstText {
    bytes: [u8; 512],
    len: usize,
}

impl ConstText {
    pub(crate) const fn new(text: &str) -> Self {
        Self { bytes: [0; 512], len: 0 }.and(text)
    }

    /// Appends a text, or nothing if it does not fit.
    pub(crate) const fn and(mut self, text: &str) -> Self {
        let text = text.as_bytes();
        if text.len() > self.bytes.len() - self.len {
            return self;
        }
        let mut at = 0;
        while at < text.len() {
            self.bytes[self.len] = text[at];
            self.len += 1;
            at += 1;
        }
        self
    }

    pub(crate) const fn as_str(&self) -> &str {
        match std::str::from_utf8(self.bytes.split_at(self.len).0) {
            Ok(text) => text,
            Err(_) => "the text is not UTF-8",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_does_not_fit_is_left_out() {
        let long = "x".repeat(510);
        assert_eq!(ConstText::new(&long).and("yyy").and("ä").as_str(), format!("{long}ä"));
    }
}
