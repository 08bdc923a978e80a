//! The scripts that run inside Redis. Each connection loads them once and calls them by their hashes.

use redis::{Cmd, Pipeline, RedisResult};

use crate::cluster::redis::connection::CommandConnection;

/// Defines [`Script`] and [`CODE`], in the same order.
macro_rules! scripts {
    ($($name:ident $file:literal),+) => {
        /// The name of a script.
        #[derive(Clone, Copy, Debug)]
        pub(super) enum Script { $($name),+ }

        const CODE: &[&str] = &[$(include_str!(concat!("scripts/", $file, ".lua"))),+];
    };
}

scripts!(Join "join", Beat "beat", Load "load", Drain "drain", Leave "leave", Reap "reap", Claim "claim",
    Release "release", Route "route", Seats "seats", Lease "lease", Tell "tell");

/// The hashes of the loaded scripts, in the order of [`Script`].
#[derive(Clone, Debug)]
pub(super) struct Scripts(Vec<String>);

impl Scripts {
    /// Loads all scripts in one round trip.
    pub(super) async fn load(connection: &mut CommandConnection) -> RedisResult<Self> {
        let mut pipeline = Pipeline::new();
        for code in CODE {
            pipeline.cmd("SCRIPT").arg("LOAD").arg(code);
        }
        pipeline.query_async(connection).await.map(Self)
    }

    /// Returns a call of a script with its keys. The caller adds the arguments.
    pub(super) fn call(&self, script: Script, keys: &[&str]) -> Cmd {
        let mut call = redis::cmd("EVALSHA");
        call.arg(&self.0[script as usize]).arg(keys.len()).arg(keys);
        call
    }
}
