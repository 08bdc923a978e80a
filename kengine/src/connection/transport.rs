//! What carries a connection's bytes: a TCP socket, an upgraded stream, or memory.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::upgrade::Upgraded;
use hyper_util::{rt::TokioIo, server::conn::auto};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;

/// How many unsent bytes the kernel buffers for a connection (`TCP_NOTSENT_LOWAT`). Without this limit the kernel took
/// 4.2 MB, and a slow reader went unnoticed because its outbox stayed empty.
#[cfg(target_os = "linux")]
const NOTSENT_LOWAT: u32 = 16 * 1024;

/// Sets the options of a TCP socket: data is sent at once, and the kernel buffers little of it.
pub(crate) fn tune<'s, S>(socket: &'s S) -> io::Result<()>
where
    socket2::SockRef<'s>: From<&'s S>,
{
    let socket = socket2::SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(NOTSENT_LOWAT)?;
    Ok(())
}

/// What carries a connection's bytes after the handshake.
pub(crate) enum Transport {
    /// A TCP socket.
    Tcp(TcpStream),
    /// A stream that hyper has upgraded, from whatever the user's router listens on.
    Upgraded(TokioIo<Upgraded>),
    /// A pipe in memory to a test's client.
    Memory(DuplexStream),
}

impl Transport {
    /// Returns the transport of an upgraded connection, and the bytes that hyper has read after the handshake. They are
    /// copied because hyper's slice keeps its whole read buffer alive, even if it is empty.
    pub(crate) fn new(upgraded: Upgraded) -> (Self, Vec<u8>) {
        // The stream was upgraded by hyper itself, or by hyper-util's builder, which axum uses.
        let upgraded = match upgraded.downcast::<TokioIo<TcpStream>>() {
            Ok(parts) => return (Self::Tcp(parts.io.into_inner()), parts.read_buf.to_vec()),
            Err(upgraded) => upgraded,
        };
        match auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
            Ok(parts) => (Self::Tcp(parts.io.into_inner()), parts.read_buf.to_vec()),
            Err(upgraded) => (Self::Upgraded(TokioIo::new(upgraded)), Vec::new()),
        }
    }

    /// Sets the options of a socket that a router has accepted. Our own listener sets them itself.
    pub(crate) fn tune(&self) {
        if let Self::Tcp(stream) = self {
            // The connection works without these options, with more latency.
            let _ = tune(stream);
        }
    }

    /// Reads some bytes. Returns their number; 0 means that the peer writes no more.
    #[inline]
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let read = match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
            Self::Upgraded(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
            Self::Memory(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
        };
        read.map_ok(|()| buffer.filled().len())
    }

    /// Writes some bytes. Returns their number.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Upgraded(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Memory(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    /// Closes the writing side.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Upgraded(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Memory(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    /// Whether the peer receives everything that was written even if this end is dropped with input unread. TCP would
    /// reset the connection then, and the peer could lose our close frame (RFC 6455, section 7.1.1).
    pub(crate) fn may_drop_unread(&self) -> bool {
        matches!(self, Self::Memory(_))
    }

    /// Resets TCP when this is dropped, so that the kernel does not keep data that the peer never reads.
    pub(crate) fn reset_on_drop(&self) {
        if let Self::Tcp(stream) = self {
            // If this fails, TCP is closed in the usual way.
            let _ = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
        }
    }
}
