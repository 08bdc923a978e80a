//! How a connection ends: the code and the reason of a close frame (RFC 6455, section 7.4).

use std::{borrow::Cow, fmt};

/// The longest reason that fits into a control frame beside the code, in bytes (RFC 6455, section 5.5).
const MAX_REASON_LEN: usize = 123;

/// A close code that an endpoint may send: 1000–1003, 1007–1014 or 3000–4999 (RFC 6455, section 7.4.1).
///
/// Codes from 4000 tell the client what to do: 4000–4499 reconnect with backoff, 4500–4999 do not reconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1002: the client violated RFC 6455.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: this endpoint does not accept this kind of data.
    pub const UNSUPPORTED: Self = Self(1003);
    /// 1007: a text message is not UTF-8.
    pub const INVALID_DATA: Self = Self(1007);
    /// 1009: a message is too large, or has too many fragments.
    pub const TOO_LARGE: Self = Self(1009);
    /// 1011: the server failed.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 4000: the node is draining. The client reconnects at once, through the gateway.
    pub const DRAINING: Self = Self(4000);
    /// 4001: the client was silent for the idle timeout. The client reconnects.
    pub const HEARTBEAT_TIMEOUT: Self = Self(4001);
    /// 4002: the outbox overflowed because the client read too slowly. The client reconnects.
    pub const TOO_SLOW: Self = Self(4002);
    /// 4003: the session has [expired](crate::Session::expires). The client reconnects with a new token.
    pub const EXPIRED: Self = Self(4003);
    /// 4004: the request to connect was refused with 429 or 503, as [`Refusal::close`](crate::Refusal::close) says. The
    /// client reconnects after the delay in the reason.
    pub const TRY_LATER: Self = Self(4004);
    /// 4500: a newer connection of the same uid replaced this one. The client does not reconnect.
    pub const REPLACED: Self = Self(4500);
    /// 4501: the user was kicked. The client does not reconnect.
    pub const KICKED: Self = Self(4501);
    /// 4502: the client sent more than the rates of the server allow, and went on when it was refused. The client does
    /// not reconnect.
    pub const RATE_LIMIT: Self = Self(4502);
    /// 4503: the uid already has another connection, which [stays](crate::Duplicates::Refuse). The client does not
    /// reconnect.
    pub const ALREADY_CONNECTED: Self = Self(4503);
    /// 4504: the request to connect was refused with 401, as [`Refusal::close`](crate::Refusal::close) says. The client
    /// does not reconnect before its user has logged in.
    pub const UNAUTHORIZED: Self = Self(4504);
    /// 4505: the request to connect was refused with 403 or a similar status, as
    /// [`Refusal::close`](crate::Refusal::close) says. The client does not reconnect.
    pub const REFUSED: Self = Self(4505);

    /// Returns the code, or `None` if an endpoint must not send it.
    ///
    /// ```
    /// use kengine::CloseCode;
    ///
    /// const CHEATED: CloseCode = CloseCode::new(4510).unwrap();
    /// assert_eq!(CloseCode::new(1006), None); // reserved: never on the wire
    /// ```
    pub const fn new(code: u16) -> Option<Self> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(code)),
            _ => None,
        }
    }

    /// Returns the number on the wire.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for CloseCode {
    type Error = InvalidCloseCode;

    fn try_from(code: u16) -> Result<Self, InvalidCloseCode> {
        Self::new(code).ok_or(InvalidCloseCode(code))
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An endpoint must not send this close code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a close code that an endpoint may send; use 1000–1003, 1007–1014 or 3000–4999")]
pub struct InvalidCloseCode(u16);

/// The code and the reason with which a connection is closed; shown as `4501 "kicked"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    code: CloseCode,
    reason: Cow<'static, str>,
}

impl Close {
    /// Creates a close with a code and a reason. The reason is cut after 123 bytes, at the end of a character.
    pub fn new(code: CloseCode, reason: impl Into<Cow<'static, str>>) -> Self {
        let mut reason = reason.into();
        if reason.len() > MAX_REASON_LEN {
            let end = (0..=MAX_REASON_LEN).rev().find(|&end| reason.is_char_boundary(end)).unwrap_or(0);
            reason = Cow::Owned(reason[..end].to_owned());
        }
        Self { code, reason }
    }

    /// Returns the code.
    pub fn code(&self) -> CloseCode {
        self.code
    }

    /// Returns the reason, at most 123 bytes.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl From<CloseCode> for Close {
    /// Creates a close without a reason.
    fn from(code: CloseCode) -> Self {
        Self::new(code, "")
    }
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Quoted because the reason may come from a client.
        write!(f, "{} {:?}", self.code, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_an_endpoint_may_send_are_accepted() {
        for code in 0..=u16::MAX {
            let is_allowed = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            assert_eq!(CloseCode::new(code).map(CloseCode::get), is_allowed.then_some(code));
        }
    }

    #[test]
    fn a_long_reason_is_cut_at_the_end_of_a_character() {
        for (reason, kept) in [
            ("a".repeat(123), 123),
            ("a".repeat(124), 123),
            ("ä".repeat(62), 122),
            (format!("a{}", "ä".repeat(62)), 123),
        ] {
            let close = Close::new(CloseCode::NORMAL, reason.clone());
            assert_eq!(close.code(), CloseCode::NORMAL);
            assert_eq!(close.reason(), &reason[..kept]);
        }
        assert_eq!(Close::from(CloseCode::NORMAL).reason(), "");
    }
}
