//! The end of a socket that no connection has: its client is refused by a close frame, or has left the socket while its
//! session goes on. In the first case there is no connection: no session, no uid and no slot
//! of the node, and neither `#[open]` nor `#[close]` runs.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;

use tokio::time::timeout;

use crate::connection::input_rates::{Allowance, InputRates};
use crate::connection::transport::Transport;
use crate::node::Node;
use crate::node::admission::HeldSlot;
use crate::websocket::{Close, Deframer, MessageLimits, Violation, WebSocketEvent, encoder};

/// The limits of what a refused client sends: control frames, which have at most 125 bytes (RFC 6455, section 5.5), and
/// messages that are as short. So it costs almost no memory.
const LIMITS: MessageLimits = MessageLimits { max_size: 125, max_fragments: 16 };

/// Sends `bytes`, which are the rest of our answer to the handshake, and a close frame. Completes the close handshake
/// within the close timeout, or else resets TCP. `received` is what came after the request.
pub(crate) async fn close_refused(
    mut transport: Transport,
    node: Arc<Node>,
    mut bytes: Vec<u8>,
    close: Close,
    received: Vec<u8>,
) {
    encoder::write_close_frame(&mut bytes, Some(&close));
    let closed = tokio::select! {
        closed = timeout(node.limits.close_timeout, close_handshake(&mut transport, &node, bytes, received)) => closed,
        () = node.abandoned() => return,
    };
    if !matches!(closed, Ok(Ok(()))) {
        transport.reset_on_drop();
    }
}

/// Closes a socket whose session goes on without it. `rest` is what is missing of the last frame, after which the close
/// frame is sent. If it `answers` that of the client, TCP is closed then; otherwise the client's is awaited. The slot is
/// given back afterwards.
pub(super) async fn close_old(
    mut transport: Transport,
    node: Arc<Node>,
    mut rest: Vec<u8>,
    close: Close,
    answers: bool,
    slot: Option<HeldSlot>,
) {
    if answers {
        encoder::write_close_frame(&mut rest, Some(&close));
        let closing = async {
            transport.send(&rest).await?;
            shut_down(&mut transport).await
        };
        let closed = timeout(node.limits.close_timeout, closing).await;
        if !matches!(closed, Ok(Ok(()))) {
            transport.reset_on_drop();
        }
        drop(transport);
    } else {
        close_refused(transport, node, rest, close, Vec::new()).await;
    }
    drop(slot);
}

/// Sends our close frame, and waits for that of the client or for the end of TCP (RFC 6455, section 7.1.1).
///
/// # Errors
///
/// The socket has failed, or the client sends more than it may.
async fn close_handshake(
    transport: &mut Transport,
    node: &Node,
    bytes: Vec<u8>,
    mut received: Vec<u8>,
) -> io::Result<()> {
    transport.send(&bytes).await?;
    drop(bytes);
    let (mut deframer, mut rates) = (Deframer::default(), InputRates::new());
    while let Ok(is_closed) = closes(&mut deframer, &mut received) {
        if is_closed {
            return shut_down(transport).await;
        }
        received = receive(transport, node, &mut rates).await?;
        if received.is_empty() {
            return Ok(());
        }
    }
    // No close frame can be found after frames that are invalid or too long. The client closes TCP when it sees that we
    // have (RFC 6455, section 7.1.7).
    shut_down(transport).await?;
    while !receive(transport, node, &mut rates).await?.is_empty() {}
    Ok(())
}

/// Whether there is a close frame in what the client has sent. All other frames are dropped.
fn closes(deframer: &mut Deframer, mut received: &mut [u8]) -> Result<bool, Violation> {
    while let Some(event) = deframer.next(&mut received, LIMITS)? {
        if matches!(event, WebSocketEvent::Close(_)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns what the client sends next; nothing if it writes no more.
async fn receive(transport: &mut Transport, node: &Node, rates: &mut InputRates) -> io::Result<Vec<u8>> {
    let received = transport.receive().await?;
    rates.input_is_empty();
    match rates.read(received.len(), node.clock.now(), &node.limits.rates) {
        Allowance::Granted | Allowance::Refused(_) => Ok(received.into()),
        Allowance::Exhausted(_) => Err(io::ErrorKind::QuotaExceeded.into()),
    }
}

async fn shut_down(transport: &mut Transport) -> io::Result<()> {
    poll_fn(|cx| transport.poll_shutdown(cx)).await
}
