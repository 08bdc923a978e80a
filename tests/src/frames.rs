//! Frames of a client, valid or not, bit by bit (RFC 6455, section 5.2).

/// The masking key of every frame. It changes every byte, so that a missing unmasking is noticed.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The second byte that announces a 16-bit length.
const LENGTH_16: u8 = 126;
/// The second byte that announces a 64-bit length.
const LENGTH_64: u8 = 127;

/// A frame of a client, well-formed unless a method changes that.
#[derive(Clone, Debug)]
pub struct ClientFrame {
    /// The final bit, the reserved bits and the opcode.
    first: u8,
    masked: bool,
    payload: Vec<u8>,
    /// The length in the header and its form, if they differ from the payload's length in the shortest form.
    length: Option<(u64, LengthForm)>,
}

#[derive(Clone, Copy, Debug)]
enum LengthForm {
    Shortest,
    Bits16,
    Bits64,
}

impl ClientFrame {
    /// Makes a final frame with this opcode.
    pub fn new(opcode: u8, payload: impl AsRef<[u8]>) -> Self {
        Self { first: 0x80 | opcode, masked: true, payload: payload.as_ref().to_vec(), length: None }
    }

    /// Makes a final continuation frame.
    pub fn continuation(payload: impl AsRef<[u8]>) -> Self {
        Self::new(0x0, payload)
    }

    /// Makes a text frame. The payload may be empty or invalid UTF-8.
    pub fn text(payload: impl AsRef<[u8]>) -> Self {
        Self::new(0x1, payload)
    }

    /// Makes a binary frame.
    pub fn binary(payload: impl AsRef<[u8]>) -> Self {
        Self::new(0x2, payload)
    }

    /// Makes a close frame with a code and a reason.
    pub fn close(code: u16, reason: impl AsRef<[u8]>) -> Self {
        Self::new(0x8, [&code.to_be_bytes(), reason.as_ref()].concat())
    }

    /// Makes a close frame without a code.
    pub fn empty_close() -> Self {
        Self::new(0x8, [])
    }

    /// Makes a ping.
    pub fn ping(payload: impl AsRef<[u8]>) -> Self {
        Self::new(0x9, payload)
    }

    /// Makes a pong.
    pub fn pong(payload: impl AsRef<[u8]>) -> Self {
        Self::new(0xa, payload)
    }

    /// Splits a message into this many fragments.
    pub fn fragments(opcode: u8, payload: &[u8], count: usize) -> Vec<Self> {
        let size = payload.len().div_ceil(count).max(1);
        let pieces: Vec<_> = payload.chunks(size).collect();
        let last = pieces.len() - 1;
        let fragment = |(index, piece): (usize, &&[u8])| {
            let frame = Self::new(if index == 0 { opcode } else { 0x0 }, piece);
            if index == last { frame } else { frame.unfinished() }
        };
        pieces.iter().enumerate().map(fragment).collect()
    }

    /// Clears the final bit: another fragment follows.
    #[must_use]
    pub fn unfinished(mut self) -> Self {
        self.first &= 0x7f;
        self
    }

    /// Sets the reserved bit 1, 2 or 3.
    #[must_use]
    pub fn reserved(mut self, bit: u8) -> Self {
        self.first |= 0x80 >> bit;
        self
    }

    /// Sends the payload unmasked and clears the mask bit.
    #[must_use]
    pub fn unmasked(mut self) -> Self {
        self.masked = false;
        self
    }

    /// Announces this length, whatever the payload's length is.
    #[must_use]
    pub fn announcing(mut self, length: u64) -> Self {
        self.length = Some((length, LengthForm::Shortest));
        self
    }

    /// Writes the length with 16 bits, even if the 7-bit form would do.
    #[must_use]
    pub fn with_16_bit_length(mut self) -> Self {
        self.length = Some((self.payload.len() as u64, LengthForm::Bits16));
        self
    }

    /// Writes the length with 64 bits, even if a shorter form would do.
    #[must_use]
    pub fn with_64_bit_length(mut self) -> Self {
        self.length = Some((self.payload.len() as u64, LengthForm::Bits64));
        self
    }

    /// Returns the bytes on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mask_bit = if self.masked { 0x80 } else { 0 };
        let (length, form) = self.length.unwrap_or((self.payload.len() as u64, LengthForm::Shortest));
        let mut bytes = vec![self.first];
        match (form, u8::try_from(length), u16::try_from(length)) {
            (LengthForm::Shortest, Ok(length @ 0..=125), _) => bytes.push(mask_bit | length),
            (LengthForm::Shortest | LengthForm::Bits16, _, Ok(length)) => {
                bytes.push(mask_bit | LENGTH_16);
                bytes.extend(length.to_be_bytes());
            }
            _ => {
                bytes.push(mask_bit | LENGTH_64);
                bytes.extend(length.to_be_bytes());
            }
        }
        if self.masked {
            bytes.extend(MASK);
            bytes.extend(self.payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        } else {
            bytes.extend(&self.payload);
        }
        bytes
    }
}

/// Returns the bytes of these frames, to be written at once.
pub fn segment(frames: impl IntoIterator<Item = ClientFrame>) -> Vec<u8> {
    frames.into_iter().flat_map(|frame| frame.bytes()).collect()
}
