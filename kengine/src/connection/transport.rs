//! The transport under a connection.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::upgrade::Upgraded;
use hyper_util::{rt::TokioIo, server::conn::auto};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    net::TcpStream,
};

/// How much the kernel holds of what a client has not read, in bytes: more would hide a slow reader from the
/// outbox's bound (4.2 MB seen without it).
#[cfg(target_os = "linux")]
const NOT_SENT_LOWAT: u32 = 16 * 1024;

/// Sends what is written at once, and holds little of it in the kernel.
pub(crate) fn tune<'s, S>(socket: &'s S) -> io::Result<()>
where
    socket2::SockRef<'s>: From<&'s S>,
{
    let socket = socket2::SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(NOT_SENT_LOWAT)?;
    Ok(())
}

/// The transport under a connection, after the handshake.
#[derive(Debug)]
pub(crate) enum Transport {
    /// The socket itself.
    Tcp(TcpStream),
    /// Whatever the router in which the dispatcher is mounted listens on.
    Upgraded(TokioIo<Upgraded>),
    /// No socket at all: the other end is a client of a test.
    Memory(DuplexStream),
}

impl Transport {
    /// The transport of an upgraded connection, and what had arrived behind the handshake: a copy, since hyper's is
    /// a piece of its read buffer and, even empty, keeps that alive.
    pub(crate) fn new(upgraded: Upgraded) -> (Self, Vec<u8>) {
        // Served by hyper as it is, or through hyper-util's builder, as axum does it.
        let upgraded = match upgraded.downcast::<TokioIo<TcpStream>>() {
            Ok(parts) => return (Self::Tcp(parts.io.into_inner()), parts.read_buf.to_vec()),
            Err(upgraded) => upgraded,
        };
        match auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
            Ok(parts) => (Self::Tcp(parts.io.into_inner()), parts.read_buf.to_vec()),
            Err(upgraded) => (Self::Upgraded(TokioIo::new(upgraded)), Vec::new()),
        }
    }

    /// Sets a socket that somebody else has accepted as ours are set.
    pub(crate) fn tune(&self) {
        if let Self::Tcp(stream) = self {
            // A socket that cannot be set so works all the same, later.
            let _ = tune(stream);
        }
    }

    /// Reads some bytes; `0` means that the peer writes no more.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let read = match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
            Self::Upgraded(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
            Self::Memory(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
        };
        read.map_ok(|()| buffer.filled().len())
    }

    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Upgraded(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Memory(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    /// Tells the peer that nothing more comes.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Upgraded(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Memory(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    /// Whether the peer gets all that was written though we leave at once. A socket's would lose our close frame if we
    /// left bytes of it unread (RFC 6455, section 7.1.1).
    pub(crate) fn keeps_what_was_written(&self) -> bool {
        matches!(self, Self::Memory(_))
    }

    /// Makes the drop of this stream a reset, so that what the peer never read does not linger in the kernel.
    pub(crate) fn reset_on_drop(&self) {
        if let Self::Tcp(stream) = self {
            // A socket that cannot be set so is closed in the usual way.
            let _ = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
        }
    }
}
