//! The listening socket.

use std::{fmt, io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket, ToSocketAddrs, lookup_host};

use crate::{connection::transport, language::start_error::StartError};

/// How many connections the kernel completes before they are accepted.
const BACKLOG: u32 = 4096;

/// Listens on an address, and returns the actual address too.
pub(super) async fn listen(
    address: impl ToSocketAddrs + fmt::Debug,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let shown = format!("{address:?}");
    let listening = listen_on_first(address).await.and_then(|listener| {
        let address = listener.local_addr()?;
        Ok((listener, address))
    });
    listening.map_err(|source| StartError::Bind { address: shown, source })
}

/// Listens on the first of the addresses that works.
async fn listen_on_first(address: impl ToSocketAddrs) -> io::Result<TcpListener> {
    let mut failure = io::Error::new(io::ErrorKind::InvalidInput, "the address resolves to nothing");
    for address in lookup_host(address).await? {
        match listen_on(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    // Accepted sockets inherit these options: two system calls less per connection.
    #[cfg(target_os = "linux")]
    transport::tune(&socket)?;
    socket.listen(BACKLOG)
}
