//! The end of a socket that its session has left: the client has come back over another one, or may do so.

use std::sync::Arc;

use tokio::time::timeout;

use crate::connection::refused::{close_refused, shut_down};
use crate::connection::transport::Transport;
use crate::node::Node;
use crate::node::admission::HeldSlot;
use crate::websocket::{Close, encoder};

/// Closes a socket whose session goes on without it. `rest` is what is missing of the last frame, after which the close
/// frame is sent. If it `answers` that of the client, TCP is closed then; otherwise the client's is awaited. The slot
/// is given back afterwards.
pub(super) async fn close_left(
    // The first parameter is dropped last.
    _slot: Option<HeldSlot>,
    mut transport: Transport,
    node: Arc<Node>,
    mut rest: Vec<u8>,
    close: Close,
    answers: bool,
) {
    if !answers {
        return close_refused(transport, node, rest, close, Vec::new()).await;
    }
    encoder::write_close_frame(&mut rest, Some(&close));
    let closing = async {
        transport.send(&rest).await?;
        shut_down(&mut transport).await
    };
    let closed = tokio::select! {
        closed = timeout(node.limits.close_timeout, closing) => closed,
        () = node.abandoned() => return,
    };
    if !matches!(closed, Ok(Ok(()))) {
        transport.reset_on_drop();
    }
}
