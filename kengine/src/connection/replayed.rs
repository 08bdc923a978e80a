//! What hyper serves, and what a connection takes back from it: a transport whose first bytes were read already and
//! are read again by hyper.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use hyper::upgrade::Upgraded;
use hyper_util::{rt::TokioIo, server::conn::auto};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::connection::transport::{OtherTransport, Transport};

/// A transport, and the bytes that were read from it and come first.
pub(crate) struct Replayed {
    received: Bytes,
    transport: Transport,
}

impl Replayed {
    pub(crate) fn new(received: Bytes, transport: Transport) -> Self {
        Self { received, transport }
    }
}

impl AsyncRead for Replayed {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { received, transport } = self.get_mut();
        if received.is_empty() {
            return transport.stream().poll_read(cx, buffer);
        }
        let len = received.len().min(buffer.remaining());
        buffer.put_slice(&received[..len]);
        received.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Replayed {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().transport.stream().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().transport.stream().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        matches!(self.transport, Transport::Tcp(_))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().transport.stream().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().transport.stream().poll_shutdown(cx)
    }
}

/// Returns the transport of an upgraded connection, and the bytes that hyper has read after the handshake. They are
/// copied because hyper's slice keeps its whole read buffer alive, even if it is empty.
pub(crate) fn take_back(upgraded: Upgraded) -> (Transport, Vec<u8>) {
    // Our own server has read the first bytes.
    let upgraded = match upgraded.downcast::<TokioIo<Replayed>>() {
        Ok(parts) => {
            let Replayed { received, transport } = parts.io.into_inner();
            // hyper may not have read all of them again.
            return (transport, [&parts.read_buf[..], &received].concat());
        }
        Err(upgraded) => upgraded,
    };
    // A router's stream was upgraded by hyper itself, or by hyper-util's builder, which axum uses.
    let upgraded = match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => return (Transport::Tcp(parts.io.into_inner()), parts.read_buf.to_vec()),
        Err(upgraded) => upgraded,
    };
    match auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
        Ok(parts) => (Transport::Tcp(parts.io.into_inner()), parts.read_buf.to_vec()),
        Err(upgraded) => (OtherTransport::Upgraded(TokioIo::new(upgraded)).into(), Vec::new()),
    }
}
