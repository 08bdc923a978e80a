//! The listening socket, and the options of the sockets that it accepts.

use std::{fmt, io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket, TcpStream, ToSocketAddrs, lookup_host};
use tokio::runtime::Handle;

use crate::connection::tune;
use crate::protocol::StartError;

/// The number of connections that the kernel completes before they are accepted.
const BACKLOG: u32 = 4096;

/// A listening socket on the runtime of its connections. The sockets that it accepts are [tuned](tune).
#[derive(Debug)]
pub(super) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    /// Whether accepted sockets inherit the options from the listener, which saves two system calls per connection.
    inherits: bool,
}

impl Listener {
    /// Listens on an address.
    pub(super) async fn bind(address: impl ToSocketAddrs + fmt::Debug, runtime: &Handle) -> Result<Self, StartError> {
        let shown = format!("{address:?}");
        let listening = listen_on_first(address, runtime).await;
        let listening = listening.and_then(|listener| Self::new(listener, cfg!(target_os = "linux")));
        listening.map_err(|source| StartError::Bind { address: shown, source })
    }

    /// Listens on an address that need not be looked up.
    pub(super) fn bind_now(address: SocketAddr, runtime: &Handle) -> Result<Self, StartError> {
        let listening = listen_on(address, runtime).and_then(|listener| Self::new(listener, cfg!(target_os = "linux")));
        listening.map_err(|source| StartError::Bind { address: address.to_string(), source })
    }

    /// Uses a listener that exists already. Connections that wait in its queue were completed before its options could
    /// be set, so each accepted socket is tuned.
    pub(super) fn existing(listener: TcpListener, runtime: &Handle) -> Result<Self, StartError> {
        let _in_runtime = runtime.enter();
        let moved = listener.into_std().and_then(TcpListener::from_std);
        moved
            .and_then(|listener| Self::new(listener, false))
            .map_err(|source| StartError::Bind { address: "the given listener".to_owned(), source })
    }

    fn new(socket: TcpListener, inherits: bool) -> io::Result<Self> {
        let address = socket.local_addr()?;
        Ok(Self { socket, address, inherits })
    }

    /// Returns the actual address, even if port 0 was asked for.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts the next connection. Nothing is lost when the future is dropped.
    pub(super) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = self.socket.accept().await?;
        if !self.inherits {
            // A socket that rejects the options still works, but with more delay and more memory.
            let _ = tune(&stream);
        }
        Ok((stream, peer))
    }
}

/// Listens on the first of the addresses that works.
async fn listen_on_first(address: impl ToSocketAddrs, runtime: &Handle) -> io::Result<TcpListener> {
    let mut failure = io::Error::new(io::ErrorKind::InvalidInput, "the address resolves to nothing");
    for address in lookup_host(address).await? {
        match listen_on(address, runtime) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn listen_on(address: SocketAddr, runtime: &Handle) -> io::Result<TcpListener> {
    let _in_runtime = runtime.enter();
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    #[cfg(target_os = "linux")]
    tune(&socket)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    /// Asserts that an accepted socket sends at once, and that the kernel buffers little unsent data.
    async fn assert_tuned(listener: &Listener) {
        let (accepted, _) = listener.accept().await.unwrap();
        assert!(accepted.nodelay().unwrap());
        assert_eq!(socket2::SockRef::from(&accepted).tcp_notsent_lowat().unwrap(), 16 * 1024);
    }

    #[tokio::test]
    async fn accepted_sockets_are_tuned() {
        let listener = Listener::bind("127.0.0.1:0", &Handle::current()).await.unwrap();
        let _client = TcpStream::connect(listener.address()).await.unwrap();
        assert_tuned(&listener).await;
    }

    #[tokio::test]
    async fn accepted_sockets_of_an_existing_listener_are_tuned() {
        let given = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = given.local_addr().unwrap();
        // This connection is complete before the listener is ours.
        let _early = TcpStream::connect(address).await.unwrap();
        given.set_nonblocking(true).unwrap();
        let listener = Listener::existing(TcpListener::from_std(given).unwrap(), &Handle::current()).unwrap();
        assert_eq!(listener.address(), address);
        assert_tuned(&listener).await;
        let _late = TcpStream::connect(address).await.unwrap();
        assert_tuned(&listener).await;
    }
}
