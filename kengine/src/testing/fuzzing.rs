//! What the fuzz targets in `kengine/fuzz` need of the private parts of kengine. Compiled only with
//! `--cfg fuzzing`, which `cargo fuzz` and `.ci/model` set.

use std::{net::SocketAddr, sync::Arc};

use tokio::io::DuplexStream;
use tokio::time::{Instant, timeout};

use crate::connection::{MemoryPipe, OtherTransport, Transport};
use crate::dispatch::Dispatcher;
use crate::http::Refusal;
use crate::node_state::Limit;
use crate::protocol::{Envelope, Error, Result, Syntax};
use crate::server::{HttpSocket, ListenerKind, PendingHandshakes};
use crate::testing::Served;
use crate::websocket::{Close, Deframer, MessageLimits, WebSocketEvent};

/// A message or control frame, as the deframer returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "these are the events of the deframer")]
pub enum Deframed {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Option<Close>),
}

impl From<WebSocketEvent<'_>> for Deframed {
    fn from(event: WebSocketEvent<'_>) -> Self {
        match event {
            WebSocketEvent::Text(text) => Self::Text(text.into_owned()),
            WebSocketEvent::Binary(bytes) => Self::Binary(bytes.into_owned()),
            WebSocketEvent::Ping(payload) => Self::Ping(payload.into_owned()),
            WebSocketEvent::Pong => Self::Pong,
            WebSocketEvent::Close(close) => Self::Close(close),
        }
    }
}

/// Decodes a client's bytes, which arrive in these pieces. Returns the events up to the first close frame or violation,
/// and the close frame with which the server answers a violation.
pub fn deframe<'p>(
    pieces: impl IntoIterator<Item = &'p [u8]>,
    max_message_size: usize,
) -> (Vec<Deframed>, Option<Close>) {
    let limits = MessageLimits { max_size: max_message_size, max_fragments: u32::MAX };
    let mut deframer = Deframer::default();
    let mut events = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut rest = &mut piece[..];
        loop {
            match deframer.next(&mut rest, limits) {
                Ok(Some(event)) => events.push(event.into()),
                Ok(None) => break,
                Err(violation) => return (events, Some(violation.close())),
            }
            if let Some(Deframed::Close(_)) = events.last() {
                return (events, None);
            }
        }
    }
    (events, None)
}

/// Parses an envelope.
///
/// # Errors
///
/// The error for the client, and the id that the answer repeats.
pub fn parse_envelope(text: &str, syntax: Syntax) -> Result<Envelope<'_>, (Error, Option<&str>)> {
    Envelope::parse(text, syntax).map_err(|rejected| (rejected.error, rejected.id))
}

/// Parses an envelope, and reads the rest of the message only if that is needed later, as for a dispatcher of the
/// macro.
///
/// # Errors
///
/// The error for the client, and the id that the answer repeats.
pub fn parse_start_of_envelope(text: &str, syntax: Syntax) -> Result<Envelope<'_>, (Error, Option<&str>)> {
    Envelope::parse_start(text, syntax).map_err(|rejected| (rejected.error, rejected.id))
}

/// Checks that a whole message is a request, and returns its id.
///
/// # Errors
///
/// The error for the client, and the id that the answer repeats.
pub fn check_envelope<'a>(envelope: &Envelope<'a>) -> Result<Option<&'a str>, (Error, Option<&'a str>)> {
    envelope.check().map_err(|rejected| (rejected.error, rejected.id))
}

impl<D: Dispatcher> Served<D> {
    /// Serves HTTP on a stream, as the server does on a socket.
    pub fn serve_http(&self, stream: DuplexStream, peer: SocketAddr) -> impl Future<Output = ()> + use<D> {
        let routes = Arc::clone(&self.routes);
        async move {
            let (mut transport, accepted_at) =
                (Transport::from(OtherTransport::Memory(MemoryPipe::new(stream, Arc::default()))), Instant::now());
            let handshakes = PendingHandshakes::new(Arc::clone(&routes.node), 1, Limit::PendingHandshakes);
            let Ok(pending) = handshakes.begin(None, peer) else { return };
            let received = timeout(routes.node.limits.handshake_timeout, transport.receive()).await;
            let Ok(Ok(received)) = received else { return };
            let socket = HttpSocket { transport, peer, kind: ListenerKind::Players, routes, accepted_at, pending };
            if let Some(next) = socket.serve(received).await {
                next.await;
            }
        }
    }

    /// Opens a connection with this session, without `#[accept]`, and returns the client's end of its stream, on which
    /// the client may send any bytes.
    ///
    /// # Errors
    ///
    /// 503 if the server is full or drains.
    pub async fn connect_raw(&self, session: D::Session) -> Result<DuplexStream, Refusal> {
        Ok(self.open(session).await?.0)
    }
}
