//! The scripts that Redis runs, and how they are called: by their hashes, which a server is taught once a connection.

use redis::{Cmd, Pipeline, RedisResult, aio::MultiplexedConnection};

/// A script of ours.
#[derive(Clone, Copy, Debug)]
pub(super) enum Script {
    Join,
    Beat,
    Load,
    Drain,
    Leave,
    Reap,
    Claim,
    Release,
    Route,
}

/// The code of each, in the order of [`Script`].
const CODE: [&str; 9] = [
    include_str!("scripts/join.lua"),
    include_str!("scripts/beat.lua"),
    include_str!("scripts/load.lua"),
    include_str!("scripts/drain.lua"),
    include_str!("scripts/leave.lua"),
    include_str!("scripts/reap.lua"),
    include_str!("scripts/claim.lua"),
    include_str!("scripts/release.lua"),
    include_str!("scripts/route.lua"),
];

/// The hashes of the scripts, in the order of [`Script`].
#[derive(Debug)]
pub(super) struct Scripts(Vec<String>);

impl Scripts {
    /// Teaches a server all of them, in one round trip.
    pub(super) async fn load(connection: &mut MultiplexedConnection) -> RedisResult<Self> {
        let mut pipeline = Pipeline::new();
        for code in CODE {
            pipeline.cmd("SCRIPT").arg("LOAD").arg(code);
        }
        pipeline.query_async(connection).await.map(Self)
    }

    /// A call of one, with its keys; its arguments are to follow.
    pub(super) fn call(&self, script: Script, keys: &[&str]) -> Cmd {
        let mut call = redis::cmd("EVALSHA");
        call.arg(&self.0[script as usize]).arg(keys.len()).arg(keys);
        call
    }
}
