//! The limits of the game loops of a server.

use crate::dispatch::Dispatcher;
use crate::server::Server;

impl<D: Dispatcher> Server<D> {
    /// Limits the number of rooms whose [game loop](crate::room::GameLoop) runs on this node or would be taken over by
    /// it. The default is 10,000. In further rooms, [`run`](crate::room::Room::run) fails with
    /// [`GameLoopError::TooMany`](crate::room::GameLoopError::TooMany).
    pub fn max_game_loops(mut self, loops: usize) -> Self {
        self.limits.game_loops.max_loops = loops;
        self
    }

    /// Limits the number of messages that wait for one game loop. The default is 1,024, the minimum 1. Further messages
    /// are refused with [`GameLoopError::Busy`](crate::room::GameLoopError::Busy); those that other nodes only
    /// [tell](crate::room::Room::tell) it are dropped.
    pub fn max_game_loop_queue(mut self, messages: usize) -> Self {
        self.limits.game_loops.max_queue = messages.max(1);
        self
    }

    /// Limits the size of a message to a game loop and of its reply, in bytes of JSON. The default is 64 KiB. A larger
    /// message is refused with [`GameLoopError::TooLarge`](crate::room::GameLoopError::TooLarge), a larger reply with
    /// [`GameLoopError::Invalid`](crate::room::GameLoopError::Invalid).
    pub fn max_game_loop_message_size(mut self, bytes: usize) -> Self {
        self.limits.game_loops.max_message_size = bytes;
        self
    }

    /// Limits the size of what a game loop [saves](crate::room::GameLoop::save), in bytes of JSON. The default is 64
    /// KiB. If it is larger, what was saved before is kept, and the refusal is logged.
    pub fn max_game_loop_saved_size(mut self, bytes: usize) -> Self {
        self.limits.game_loops.max_saved_size = bytes;
        self
    }
}
