//! Reads a script from bytes. Every byte string is a script; what is missing at its end is zeros.

pub struct Script<'b> {
    bytes: &'b [u8],
}

impl<'b> Script<'b> {
    pub fn new(bytes: &'b [u8]) -> Self {
        Self { bytes }
    }

    pub fn is_over(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        first
    }

    /// Takes a byte and returns the index that it selects among this many.
    pub fn index(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }

    /// Takes up to 31 bytes, after one with their number.
    pub fn bytes(&mut self) -> &'b [u8] {
        let length = self.index(32).min(self.bytes.len());
        let (taken, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        taken
    }
}
