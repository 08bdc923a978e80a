//! The id of a reservation that a gateway made for a player.

use std::fmt;

use hyper::{HeaderMap, header::HeaderName};

/// The header field in which a gateway names the reservation. The gateway overwrites what the client sent there.
const FIELD: HeaderName = HeaderName::from_static("kengine-reservation");
/// The length of an id: 128 bits as hexadecimal digits.
const DIGITS: usize = 32;

/// The id of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReservationId(u128);

impl ReservationId {
    /// Reads the id from the header fields of a request, if there is one. An id that no gateway has issued has no
    /// effect, so the client need not be trusted.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut fields = headers.get_all(FIELD).iter();
        let (Some(field), None) = (fields.next(), fields.next()) else { return None };
        Self::parse(field.to_str().ok()?)
    }

    /// Parses exactly 32 lowercase hexadecimal digits, as gateways write them.
    fn parse(digits: &str) -> Option<Self> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_id = digits.len() == DIGITS && digits.bytes().all(is_digit);
        u128::from_str_radix(digits, 16).ok().filter(|_| is_id).map(Self)
    }
}

impl fmt::Display for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0DIGITS$x}", self.0)
    }
}
