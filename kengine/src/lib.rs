//! A framework for the connection layer of multiplayer games and other realtime backends. Each WebSocket message of a
//! player calls one of your typed methods.
//!
//! ```no_run
//! use kengine::Server;
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Chat {
//!     greeting: String,
//! }
//!
//! struct Game;
//!
//! #[kengine::dispatcher]
//! impl Game {
//!     #[route("chat")]
//!     async fn chat(&self, chat: Chat) -> String {
//!         format!("hey, you said: {}", chat.greeting)
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), kengine::StartError> {
//!     Server::new(Game).bind("127.0.0.1:8000").await?.serve().await
//! }
//! ```
//!
//! A client connects to `ws://127.0.0.1:8000/ws` and sends `{"method": "chat", "message": {"greeting": "hello"}}`.
//!
//! # Where to go next
//!
//! | to | read |
//! |---|---|
//! | write routes and hooks | [`dispatcher`](macro@dispatcher) |
//! | configure the server | [`Server`] |
//! | use rooms, send pushes, and reach users | [`guide::rooms`] |
//! | write a client | [`wire`], the protocol with all its codes |
//! | test a dispatcher | [`testing`] |
//! | run a game loop | [`guide::game_loop`] |
//! | run one node or many | [`guide::deploying`], [`guide::nodes`] |
//! | know what is defended, and what is left to you | [`guide::security`] |
//! | know what a message costs, and find a slow handler | [`guide::performance`] |
//! | change kengine itself | [`guide::architecture`] |
//!
//! # Features
//!
//! | feature | effect |
//! |---|---|
//! | `redis` (default) | clusters in Redis or Valkey: `cluster::Redis`, `cluster::gateway`, `Hub::connect` |
//! | `tls` | `rediss://`: connections to Redis over TLS |
#![forbid(unsafe_code)]

// The macros expand to paths that begin with `::kengine`, also inside this crate.
#[allow(unused_extern_crates)]
extern crate self as kengine;

pub mod cluster;
mod connection;
mod dispatch;
mod handles;
mod http;
mod node;
mod node_state;
mod protocol;
mod server;
pub mod testing;
mod websocket;

pub use crate::dispatch::{Context, Dispatcher, FromContext};
pub use crate::handles::{Connection, Hub};
pub use crate::http::{Handshake, Refusal, RefusalForm};
pub use crate::node_state::{ConnectionId, Duplicates, ExtendError};
pub use crate::protocol::{
    Call, DisconnectReason, Error, InvalidUid, Liveness, Push, Result, Session, StartError, Uid,
};
pub use crate::server::{Bound, Server, Service};
pub use crate::websocket::{Close, CloseCode, InvalidCloseCode};

/// Rooms, their members, their game loops, and users. A [`Hub`] gives access to them.
pub mod room {
    pub use crate::handles::{Everybody, Fill, GameLoop, Join, List, LoopRoom, Room, RoomCount, Rooms, Start, User};
    pub use crate::node_state::{
        GameLoopError, JoinError, Joined, Left, ListError, Member, Members, Occupants, RoomPage, RoomSummary,
        SetPublicError, Tick, WhenAway, Who,
    };
}

/// Pushes and questions: how they are delivered, and why they fail.
pub mod push {
    pub use crate::handles::{Ask, AskError};
    pub use crate::node_state::{Queued, SendError};
    pub use crate::protocol::Delivery;
}

#[doc = include_str!("../docs/wire.md")]
pub mod wire {
    pub use crate::dispatch::Hooks;
    pub use crate::protocol::{Answer, Envelope, Rate, Route, Syntax};
    pub use crate::websocket::Message;
}

#[doc = include_str!("../docs/composition.md")]
pub use kengine_macros::Dispatcher;
#[doc = include_str!("../docs/push.md")]
pub use kengine_macros::Push;
#[doc = include_str!("../docs/accept.md")]
pub use kengine_macros::accept;
#[doc = include_str!("../docs/before.md")]
pub use kengine_macros::before;
#[doc = include_str!("../docs/close.md")]
pub use kengine_macros::close;
#[doc = include_str!("../docs/dispatcher.md")]
#[doc = "\n# The expansion\n\n`cargo expand` shows this for the first program above:\n\n```"]
#[doc = "# #[derive(serde::Deserialize)] struct Chat { greeting: String }"]
#[doc = "# struct Game;"]
#[doc = include_str!("../docs/expansion/route.rs")]
#[doc = "```"]
#[doc = "\n[`guide::expansion`] explains it line by line."]
pub use kengine_macros::dispatcher;
#[doc = include_str!("../docs/fallback.md")]
pub use kengine_macros::fallback;
#[doc = include_str!("../docs/heartbeat.md")]
pub use kengine_macros::heartbeat;
#[doc = include_str!("../docs/open.md")]
pub use kengine_macros::open;
#[doc = include_str!("../docs/resume.md")]
pub use kengine_macros::resume;
#[doc = include_str!("../docs/route.md")]
pub use kengine_macros::route;
#[doc = include_str!("../docs/suspend.md")]
pub use kengine_macros::suspend;

/// Guides, one page per subject.
#[cfg(doc)]
pub mod guide {
    #[doc = include_str!("../docs/architecture.md")]
    pub mod architecture {}

    #[doc = include_str!("../docs/expansion/page.md")]
    #[doc = "```"]
    #[doc = "# use kengine::{Call, Error, Handshake, Refusal};"]
    #[doc = "# #[derive(serde::Deserialize)] struct Step {}"]
    #[doc = "# #[derive(Clone)] struct Player { muted: bool }"]
    #[doc = "# impl Player { fn step(&self, _: Step) {} }"]
    #[doc = "# impl kengine::Session for Player {}"]
    #[doc = "# struct Players(Player);"]
    #[doc = "# impl Players { fn find<T>(&self, _: Option<T>) -> Option<Player> { Some(self.0.clone()) } }"]
    #[doc = "# struct Game { players: Players }"]
    #[doc = include_str!("../docs/expansion/hooks.rs")]
    #[doc = "```"]
    #[doc = "\n# Compositions\n"]
    #[doc = "`#[derive(Dispatcher)]` on `struct App<R> { chat: Chat, rest: R }` offers each message to the fields in turn."]
    #[doc = "The checks of names, syntaxes and hooks run while the program is compiled:\n\n```"]
    #[doc = "# struct Chat;"]
    #[doc = "# #[kengine::dispatcher] impl Chat { #[route] async fn chat(&self) {} }"]
    #[doc = "# struct App<R> { chat: Chat, rest: R }"]
    #[doc = include_str!("../docs/expansion/composition.rs")]
    #[doc = "```"]
    pub mod expansion {}

    #[doc = include_str!("../docs/rooms.md")]
    pub mod rooms {}

    #[cfg(feature = "redis")]
    #[doc = include_str!("../docs/nodes.md")]
    pub mod nodes {}

    #[cfg(feature = "redis")]
    #[doc = include_str!("../docs/deploying.md")]
    pub mod deploying {}

    #[cfg(feature = "redis")]
    #[doc = include_str!("../docs/security.md")]
    pub mod security {}

    #[doc = include_str!("../docs/protocol.md")]
    pub mod protocol {}

    #[doc = include_str!("../docs/performance.md")]
    pub mod performance {}

    #[doc = include_str!("../docs/game_loop.md")]
    #[doc = "```standalone_crate"]
    #[doc = "mod arena {"]
    #[doc = include_str!("../../examples/arena_room/arena.rs")]
    #[doc = "}\n\nmod game {"]
    #[doc = include_str!("../../examples/arena_room/game.rs")]
    #[doc = "}"]
    #[doc = "# fn main() {}"]
    #[doc = "```"]
    pub mod game_loop {}
}

/// The traits with which the macros check the types of a block. Compiler errors name them; you do not implement or call
/// them.
pub mod bounds {
    pub use crate::dispatch::{
        Decoded, Event, Fallible, Given, Infallible, IsAcceptArgument, IsAcceptOutput, IsErrorReply, IsHookArgument,
        IsHookOutput, IsLiveness, IsMessage, IsOwned, IsReference, IsRefusal, IsReply, IsSameSession, IsSession, Lent,
        Undecodable, handler_future,
    };
    pub use crate::protocol::{IsPushKey, IsSerialize};
}

/// The items that the macros' expansion uses. This module is not public API and changes without notice.
#[doc(hidden)]
pub mod __private {
    pub use std::result::Result::Ok;

    pub use serde::Serialize;

    pub use crate::{
        Call, DisconnectReason, FromContext,
        bounds::*,
        dispatch::expansion::{
            argument::argument,
            composition::{Part, Table, Unfit, check_hook, check_routes, check_syntax, hooks, part, shifted},
            placement::{any, is_large},
            probe::Verdict,
            reply::{Accepted, EITHER, returned},
            request::{call, enter, limit, no_message, position, route},
        },
    };

    /// Functions with the names of the expansion's variables. See `scope` in the macros.
    pub mod variables {
        macro_rules! variables {
            ($($name:ident),*) => { $(pub fn $name() {})* };
        }
        variables!(answer, call, context, handshake, hooks, reason, reply, returned);
    }
}

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
