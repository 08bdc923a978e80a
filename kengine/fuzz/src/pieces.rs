//! Splits bytes into pieces.

/// Splits bytes into pieces whose sizes are those in `sizes`, again and again. A size of 0 is one byte.
pub fn split<'b>(mut bytes: &'b [u8], sizes: &[u8]) -> Vec<&'b [u8]> {
    let mut pieces = Vec::new();
    let mut sizes = sizes.iter().cycle();
    while !bytes.is_empty() {
        let size = sizes.next().map_or(bytes.len(), |&size| usize::from(size).max(1));
        let (piece, rest) = bytes.split_at(size.min(bytes.len()));
        pieces.push(piece);
        bytes = rest;
    }
    pieces
}
