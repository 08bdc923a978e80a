//! What a gateway has reserved for a player whom it sends here: redeemed when the handshake is over.

use std::{fmt, sync::Arc};

use hyper::{HeaderMap, header::HeaderName};

use crate::node::Node;

/// The header field by which a gateway names the reservation, and overwrites whatever the client wrote there.
const FIELD: HeaderName = HeaderName::from_static("kengine-reservation");
/// The digits of an id: 128 bits in hexadecimal.
const DIGITS: usize = 32;

/// A seat that a gateway counts as taken since it sent a player here. Dropped, it is given back, however the handshake
/// ended: the connection is counted then, or there will be none.
pub(crate) struct Reservation {
    id: ReservationId,
    node: Arc<Node>,
}

impl Reservation {
    /// That of a request, if it names one. An id that none has given out means nothing, so nobody has to be believed.
    pub(crate) fn of(headers: &HeaderMap, node: &Arc<Node>) -> Option<Self> {
        let mut fields = headers.get_all(FIELD).iter();
        let (Some(field), None) = (fields.next(), fields.next()) else { return None };
        let id = ReservationId::parse(field.to_str().ok()?)?;
        Some(Self { id, node: Arc::clone(node) })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.node.cluster.redeem(self.id);
    }
}

/// What tells one reservation from every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReservationId(u128);

impl ReservationId {
    /// Exactly 32 hexadecimal digits in lower case, as gateways write it.
    fn parse(digits: &str) -> Option<Self> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_id = digits.len() == DIGITS && digits.bytes().all(is_digit);
        u128::from_str_radix(digits, 16).ok().filter(|_| is_id).map(Self)
    }
}

impl fmt::Display for ReservationId {
    /// As it was given.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0DIGITS$x}", self.0)
    }
}
