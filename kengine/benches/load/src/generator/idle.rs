//! Idle connections: what each of them adds to the resident memory of the servers, and to the memory of the kernel.

use std::io;
use std::thread::sleep;
use std::time::Duration;

use super::kernel_memory::KernelMemory;
use crate::client::Client;
use crate::process::Server;

/// Connections before the first reading, so that what the server needs once is not counted.
const WARM_UP_CONNECTIONS: usize = 16;
/// How long the server has after the last answer to give back what a busy connection needs. Well before the first ping.
const SETTLING_TIME: Duration = Duration::from_secs(1);

/// What an idle connection has done before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Alone,
    /// It is in a room, and has sent one message.
    InRoom,
    /// The same, and the message had 64 KiB.
    AfterLargeMessage,
}

/// The memory of an idle connection, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Footprint {
    /// Resident memory of the servers.
    pub user: f64,
    /// Memory of the kernel for the server's end of the connection, if this process may read it.
    pub kernel: Option<f64>,
}

/// Measures the memory per connection. `connect` opens the connection with a number.
pub fn measure(
    servers: &[Server],
    connections: usize,
    connect: impl FnMut(usize) -> io::Result<Client>,
) -> io::Result<Footprint> {
    let resident = || servers.iter().map(Server::resident).sum::<io::Result<u64>>();
    let mut clients = (0..WARM_UP_CONNECTIONS + connections).map(connect);
    let first = clients.by_ref().take(WARM_UP_CONNECTIONS).collect::<io::Result<Vec<_>>>()?;
    sleep(SETTLING_TIME);
    let (before, kernel_before) = (resident()?, KernelMemory::read());
    let further = clients.collect::<io::Result<Vec<_>>>()?;
    sleep(SETTLING_TIME);
    let (after, kernel_after) = (resident()?, KernelMemory::read());
    drop(first);
    #[expect(clippy::cast_precision_loss, reason = "these are far fewer than 2^52")]
    let user = after.saturating_sub(before) as f64 / further.len() as f64;
    let kernel = kernel_before.zip(kernel_after).map(|(before, after)| after.since(&before, further.len()));
    Ok(Footprint { user, kernel })
}
