//! What carries a connection's bytes: a TCP socket, an upgraded stream, or memory.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, Empty, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::connection::buffers;

/// How many unsent bytes the kernel buffers for a connection (`TCP_NOTSENT_LOWAT`). Without this limit the kernel took
/// 4.2 MB, and a slow reader went unnoticed because its outbox stayed empty.
#[cfg(target_os = "linux")]
const NOTSENT_LOWAT: u32 = 16 * 1024;

/// The flags of `send` for data that more follows: `MSG_MORE`, with which the kernel waits before it sends a segment
/// that is not full, and `MSG_NOSIGNAL`, which every other send has too (`linux/socket.h`).
#[cfg(target_os = "linux")]
const MORE_FOLLOWS: i32 = 0x8000 | 0x4000;

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

/// Reads and writes.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

/// What carries a connection's bytes. It has two variants, because each read and each write finds out which it is.
pub(crate) enum Transport {
    /// A TCP socket.
    Tcp(TcpStream),
    /// Anything else. Boxed, so that a TCP socket takes less memory.
    Other(Box<OtherTransport>),
}

/// What carries a connection's bytes, and is no TCP socket.
pub(crate) enum OtherTransport {
    /// A stream that hyper has upgraded, from whatever the user's router listens on.
    Upgraded(TokioIo<Upgraded>),
    /// A pipe in memory to a test's client.
    Memory(MemoryPipe),
    /// Nothing: the client is away, and its session is suspended.
    Absent(Empty),
}

impl From<OtherTransport> for Transport {
    fn from(other: OtherTransport) -> Self {
        Self::Other(Box::new(other))
    }
}

/// The server's end of a pipe in memory to a test's client.
pub(crate) struct MemoryPipe {
    stream: DuplexStream,
    /// Whether the client hangs: it neither reads nor answers the close frame.
    hangs: Arc<AtomicBool>,
}

impl MemoryPipe {
    /// The client, which has the other end of the stream, says by `hangs` whether it hangs.
    pub(crate) fn new(stream: DuplexStream, hangs: Arc<AtomicBool>) -> Self {
        Self { stream, hangs }
    }
}

impl Transport {
    /// Sets the options of a socket that a router has accepted. Our own listener sets them itself.
    pub(crate) fn tune(&self) {
        if let Self::Tcp(stream) = self {
            // The connection works without these options, with more latency.
            let _ = tune(stream);
        }
    }

    /// Waits for bytes, and returns those that have come; none if the peer writes no more. The buffer is borrowed only
    /// when the task is awake, because many clients may keep the server waiting.
    pub(crate) async fn receive(&mut self) -> io::Result<Bytes> {
        poll_fn(|cx| {
            let mut buffers = buffers::borrow();
            let read = self.poll_read(cx, &mut buffers.read);
            let received = read.map_ok(|read| Bytes::copy_from_slice(&buffers.read[..read]));
            buffers::give_back(buffers);
            received
        })
        .await
    }

    /// Writes all bytes.
    pub(crate) async fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        poll_fn(|cx| {
            while !bytes.is_empty() {
                match ready!(self.poll_write(cx, bytes))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    written => bytes = &bytes[written..],
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Ready when the peer of a TCP socket has gone without having sent more. Nothing is read.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Self::Tcp(stream) = self else { return Poll::Pending };
        match ready!(stream.poll_peek(cx, &mut ReadBuf::new(&mut [0]))) {
            Ok(0) | Err(_) => Poll::Ready(()),
            Ok(_) => Poll::Pending,
        }
    }

    /// Returns what the transport is.
    pub(super) fn stream(&mut self) -> Pin<&mut dyn Stream> {
        match self {
            Self::Tcp(stream) => Pin::new(stream) as Pin<&mut dyn Stream>,
            Self::Other(other) => other.stream(),
        }
    }

    /// Reads some bytes. Returns their number; 0 means that the peer writes no more.
    #[inline]
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        let read = match self {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut buffer),
            Self::Other(other) => other.poll_read(cx, &mut buffer),
        };
        read.map_ok(|()| buffer.filled().len())
    }

    /// Writes some bytes. Returns their number.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            // The kernel usually takes everything, and then the task need not be registered to be woken.
            Self::Tcp(stream) => match stream.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Pin::new(stream).poll_write(cx, bytes),
                written => Poll::Ready(written),
            },
            Self::Other(other) => other.poll_write(cx, bytes),
        }
    }

    /// Writes some bytes, after which only the rest of them and [`poll_shutdown`](Self::poll_shutdown) may follow. The
    /// kernel sends them together with the end of TCP: a segment less to send, and one less for the client to handle.
    pub(crate) fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        #[cfg(target_os = "linux")]
        if let Self::Tcp(stream) = self {
            let write = || socket2::SockRef::from(&*stream).send_with_flags(bytes, MORE_FOLLOWS);
            match stream.try_io(Interest::WRITABLE, write) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
        self.poll_write(cx, bytes)
    }

    /// Closes the writing side.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Other(other) => other.stream().poll_shutdown(cx),
        }
    }

    /// Whether the peer receives everything that was written even if this end is dropped with input unread. TCP would
    /// reset the connection then, and the peer could lose our close frame (RFC 6455, section 7.1.1). A test's client
    /// that hangs is awaited like one that TCP connects.
    pub(crate) fn may_drop_unread(&self) -> bool {
        let Self::Other(other) = self else { return false };
        matches!(&**other, OtherTransport::Memory(pipe) if !pipe.hangs.load(Ordering::Relaxed))
    }

    /// Resets TCP when this is dropped, so that the kernel does not keep data that the peer never reads.
    pub(crate) fn reset_on_drop(&self) {
        if let Self::Tcp(stream) = self {
            // If this fails, TCP is closed in the usual way.
            let _ = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
        }
    }
}

impl OtherTransport {
    fn stream(&mut self) -> Pin<&mut dyn Stream> {
        match self {
            Self::Upgraded(stream) => Pin::new(stream) as Pin<&mut dyn Stream>,
            Self::Memory(pipe) => Pin::new(&mut pipe.stream) as _,
            Self::Absent(nothing) => Pin::new(nothing) as _,
        }
    }

    #[cold]
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Absent(_) => Poll::Pending,
            other => other.stream().poll_read(cx, buffer),
        }
    }

    #[cold]
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Absent(_) => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            other => other.stream().poll_write(cx, bytes),
        }
    }
}
