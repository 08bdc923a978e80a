//! A proxy that cuts each connection after a few bytes.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use crate::Dice;

/// A proxy that cuts each connection: after a random number of bytes, in either direction, by the end of TCP or by a
/// reset. What was on its way in the other direction is lost.
#[derive(Debug)]
pub struct Cutter {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Cutter {
    /// Starts a proxy in front of this address, on a free port. A connection is cut after at most this many bytes.
    pub async fn start(server: SocketAddr, most: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let serving = tokio::spawn(async move {
            let (mut dice, mut cutting) = (Dice::new(1), JoinSet::new());
            loop {
                let (client, _) = listener.accept().await.expect("a listener");
                let left = [dice.roll(most), dice.roll(most)];
                cutting.spawn(cut(client, server, left, dice.roll(2) == 0));
            }
        });
        Self { address, serving }
    }

    /// Returns the address at which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Forwards this many bytes to the server and to the client, and cuts the connection when either is used up.
async fn cut(mut client: TcpStream, server: SocketAddr, [mut to_server, mut to_client]: [usize; 2], resets: bool) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let (mut requests, mut answers) = (vec![0; 4096], vec![0; 4096]);
    while to_server > 0 && to_client > 0 {
        let (wrote, used) = tokio::select! {
            read = client.read(&mut requests) => {
                let read = read.unwrap_or(0);
                let arriving = read.min(to_server);
                to_server -= arriving;
                (server.write_all(&requests[..arriving]).await, read)
            }
            read = server.read(&mut answers) => {
                let read = read.unwrap_or(0);
                let arriving = read.min(to_client);
                to_client -= arriving;
                (client.write_all(&answers[..arriving]).await, read)
            }
        };
        if wrote.is_err() || used == 0 {
            break;
        }
    }
    if resets {
        for socket in [&client, &server] {
            let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }
}
