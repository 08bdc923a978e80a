//! The states of a socket, from open to over: the closing handshake and the end of TCP (RFC 6455, section 7).

use crate::protocol::DisconnectReason;

/// The state of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SocketState {
    /// Messages are exchanged.
    Open,
    /// Our close frame is queued, and the client's is awaited (RFC 6455, section 7.1.2).
    Closing,
    /// Our close frame is queued, and the client's frames cannot be parsed after a violation, or are not parsed because
    /// they are too many: TCP is closed after our frame (RFC 6455, section 7.1.7).
    Failed,
    /// TCP is closed on our side, and input is discarded until the client closes its side: unread input would make the
    /// kernel reset TCP, and the client could lose our close frame (RFC 6455, section 7.1.1).
    ShutDown,
    /// Neither side sends more frames. The connection is over when everything is written and TCP is closed.
    Closed,
    /// The client is away: there is no socket until it comes back. Messages that were read are still handled.
    Suspended,
    /// The session was handed over to another node, which may not have it yet. There is no socket.
    Given,
    /// Writing failed while the connection was open. Messages that were read are still handled.
    Broken,
    /// The connection is over.
    Over,
    /// The drain's deadline has passed: the connection is over, and a running handler is cancelled.
    Abandoned,
}

impl SocketState {
    /// Returns the state after our close frame was queued. It depends on how the client's input has ended, if it has.
    pub(super) fn after_our_close(input_end: Option<&DisconnectReason>) -> Self {
        match input_end {
            None => Self::Closing,
            Some(DisconnectReason::Violation(_) | DisconnectReason::RateLimited) => Self::Failed,
            Some(_) => Self::Closed,
        }
    }

    /// Returns the state after TCP was closed on our side.
    pub(super) fn after_shutdown(self) -> Self {
        if self == Self::Failed { Self::ShutDown } else { Self::Over }
    }

    /// Returns the state after TCP has ended on the client's side.
    pub(super) fn after_end_of_input(self) -> Self {
        if self == Self::Closing { Self::Closed } else { Self::Over }
    }

    /// Returns the state after writing failed.
    pub(super) fn after_failed_write(self) -> Self {
        if self == Self::Open { Self::Broken } else { Self::Over }
    }

    /// Whether messages that were read are handled.
    pub(super) fn handles_messages(self) -> bool {
        matches!(self, Self::Open | Self::Suspended | Self::Broken)
    }

    /// Whether input is read only to be discarded.
    pub(super) fn discards_input(self) -> bool {
        matches!(self, Self::Closing | Self::Failed | Self::ShutDown)
    }

    /// Whether TCP must be closed on our side when everything is written.
    pub(super) fn must_shut_down(self) -> bool {
        matches!(self, Self::Failed | Self::Closed)
    }

    /// Whether there is a socket that may take what is queued.
    pub(super) fn writes(self) -> bool {
        matches!(self, Self::Open | Self::Closing | Self::Failed | Self::ShutDown | Self::Closed)
    }

    /// Whether the socket is not used any more.
    pub(super) fn is_over(self) -> bool {
        matches!(self, Self::Broken | Self::Over | Self::Abandoned)
    }
}
