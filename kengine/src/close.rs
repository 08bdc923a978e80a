//! How a connection ends: the code and the reason of a close frame (RFC 6455, section 7.4).

use std::borrow::Cow;

/// The longest reason that fits a control frame beside the code, in bytes (RFC 6455, section 5.5).
const LONGEST_REASON: usize = 123;

/// A close code that an endpoint may send: 1000–1003, 1007–1014 or 3000–4999 (RFC 6455, section 7.4.1).
///
/// By the codes from 4000 on, a client knows what to do: 4000–4499 reconnect with backoff, 4500–4999 stay
/// away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1002: the client broke RFC 6455.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: a kind of data that this endpoint does not take.
    pub const UNSUPPORTED: Self = Self(1003);
    /// 1007: a text that is not UTF-8.
    pub const INVALID_DATA: Self = Self(1007);
    /// 1009: a message over the limit.
    pub const TOO_LARGE: Self = Self(1009);
    /// 1011: the server failed.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 4000: the node drains; reconnect now, through the gateway.
    pub const DRAINING: Self = Self(4000);
    /// 4001: nothing was heard for the idle time; reconnect.
    pub const HEARTBEAT_TIMEOUT: Self = Self(4001);
    /// 4002: the outbox overflowed because the client read too slowly; reconnect.
    pub const TOO_SLOW: Self = Self(4002);
    /// 4500: a newer connection of the same uid took this one's place; stay away.
    pub const REPLACED: Self = Self(4500);
    /// 4501: kicked; stay away.
    pub const KICKED: Self = Self(4501);
    /// 4503: the uid is connected already, and [keeps](crate::Duplicates::Refuse) its connection; stay away.
    pub const ALREADY_CONNECTED: Self = Self(4503);

    /// The code, if an endpoint may send it.
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

    /// The number on the wire.
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// The code and the reason with which a connection is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    code: CloseCode,
    reason: Cow<'static, str>,
}

impl Close {
    /// A close with a code and a reason; of the reason the first 123 bytes (to a whole character) are sent.
    pub fn new(code: CloseCode, reason: impl Into<Cow<'static, str>>) -> Self {
        let mut reason = reason.into();
        if reason.len() > LONGEST_REASON {
            let end = (0..=LONGEST_REASON).rev().find(|&end| reason.is_char_boundary(end)).unwrap_or(0);
            reason = Cow::Owned(reason[..end].to_owned());
        }
        Self { code, reason }
    }

    /// The code.
    pub fn code(&self) -> CloseCode {
        self.code
    }

    /// The reason, at most 123 bytes.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl From<CloseCode> for Close {
    /// A close without a reason.
    fn from(code: CloseCode) -> Self {
        Self::new(code, "")
    }
}
