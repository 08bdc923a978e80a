//! Idle connections: what each of them adds to the resident memory of the server.

use std::io;
use std::thread::sleep;
use std::time::Duration;

use crate::client;
use crate::process::Server;
use crate::wire::Dialect;

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

/// Measures the resident memory per connection, in bytes.
pub fn measure(server: &Server, dialect: Dialect, connections: usize, state: State) -> io::Result<f64> {
    let join = dialect.join();
    let chat = if state == State::AfterLargeMessage { dialect.large_chat() } else { dialect.chat() };
    let connect = |number| {
        let mut stream = client::connect(server.port, dialect, &format!("player-{number}"))?;
        if state != State::Alone {
            client::ask(&mut stream, &join)?;
            client::ask(&mut stream, &chat)?;
        }
        Ok(stream)
    };
    let first = (0..WARM_UP_CONNECTIONS).map(connect).collect::<io::Result<Vec<_>>>()?;
    sleep(SETTLING_TIME);
    let before = server.resident()?;
    let further = (0..connections).map(|number| connect(first.len() + number)).collect::<io::Result<Vec<_>>>()?;
    sleep(SETTLING_TIME);
    let after = server.resident()?;
    #[expect(clippy::cast_precision_loss, reason = "these are far fewer than 2^52")]
    Ok(after.saturating_sub(before) as f64 / further.len() as f64)
}
