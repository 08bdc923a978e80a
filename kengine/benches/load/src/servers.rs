//! The servers that are compared: their programs, and what they speak.

use std::path::Path;
use std::process::Command;

use crate::wire::Dialect;

/// A server.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its name in tables and arguments.
    pub name: &'static str,
    /// Its binary, which `cargo build` puts beside this one.
    pub binary: &'static str,
    pub dialect: Dialect,
    /// What the binary is told.
    pub arguments: &'static [&'static str],
}

impl Program {
    /// Returns the command that starts it.
    pub fn command(&self, binaries: &Path) -> Command {
        let mut command = Command::new(binaries.join(self.binary));
        command.args(self.arguments);
        command
    }
}

impl PartialEq for Program {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

const fn program(name: &'static str, binary: &'static str, dialect: Dialect) -> Program {
    Program { name, binary, dialect, arguments: &[] }
}

pub const KENGINE: Program = program("kengine", "server-kengine", Dialect::Game);
/// The same, with clients that can resume their sessions.
pub const RESUMING: Program =
    Program { arguments: &["--resume"], ..program("kengine with resuming", "server-kengine", Dialect::Resuming) };
pub const CURRENT_THREAD: Program =
    program("kengine on a current-thread runtime", "server-kengine-current-thread", Dialect::Game);
/// The same, beside a thread that does nothing.
pub const IDLE_THREAD: Program = program("the same beside an idle thread", "server-kengine-idle-thread", Dialect::Game);
pub const LARGE_FUTURE: Program = program("kengine with a 16 KiB future", "server-kengine-large-future", Dialect::Game);
/// The server of the curves.
pub const CURVES: Program = program("kengine with named rooms", "server-kengine-curves", Dialect::Game);
pub const RAW_TCP: Program = program("raw TCP echo (tokio)", "server-raw-tcp", Dialect::RawEcho);
pub const FASTWEBSOCKETS: Program = program("fastwebsockets echo", "server-fastwebsockets", Dialect::Echo);
pub const HAND_WRITTEN: Program = program("fastwebsockets + serde_json", "server-hand-written", Dialect::Game);
pub const BATCHED: Program = program("own frames on tokio + serde_json", "server-batched", Dialect::Game);
pub const AXUM: Program = program("axum", "server-axum", Dialect::Game);
pub const TUNGSTENITE: Program = program("tokio-tungstenite", "server-tungstenite", Dialect::Game);
pub const SOCKUDO_WS: Program = program("sockudo-ws", "server-sockudo-ws", Dialect::Game);
pub const SOCKETIOXIDE: Program = program("socketioxide", "server-socketioxide", Dialect::SocketIo);
