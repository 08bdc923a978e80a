//! The connection layer of multiplayer games and other realtime backends: a player's WebSocket ends in a typed
//! method of yours.
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
//! [`dispatcher`] says what a block can say, [`Server`] what can be configured, [`guide::rooms`] who can be reached and
//! how.
//!
//! # What a client sees
//!
//! One WebSocket message is one request, push or heartbeat. A request is
//! `{"method": "chat", "message": {…}}`, its members in any order, others ignored; a missing `message` reads as
//! `null`. With an `id` (a JSON number or string of at most 64 bytes) it is answered exactly once, by
//! `{"id": 7, "result": …}` or `{"id": 7, "error": {"code": "…", "message": "…"}}`; without one by the bare value,
//! or `{"error": …}`, and not at all when the value is `null`. A push is `{"method": "joined", "message": {…}}`. The
//! text `p` is a heartbeat, answered with `q`.
//!
//! A push with an `id` is a [question](Connection::ask), which the client answers as the server does:
//! `{"id": 1, "result": …}`, or `{"id": 1, "error": {"code": "…", "message": "…"}}`. The server counts its own ids, apart
//! from the client's; an answer that comes too late is dropped.
//!
//! Per connection, messages are handled one at a time in the order in which they came, and answered in it. While a
//! handler runs, 16 KiB more are read, and the rest of a message that has begun; control frames among them are
//! answered at once, and pushes flow.
//!
//! | code of an error | when |
//! |---|---|
//! | `bad_request` | not JSON, not an object; route key, payload or id missing, twice or of a wrong type |
//! | `unknown_method` | no route has that name |
//! | `invalid_message` | the payload does not fit the route's message: where, and why |
//! | `too_large`, `rate_limited` | the message is over its route's own limit ([`route`](macro@route)) |
//! | `timeout` | the handler took longer than [`Server::handler_timeout`], or its route's own `timeout` |
//! | `internal` | the handler panicked, or failed for a cause that is not the client's to know |
//!
//! | close code | when |
//! |---|---|
//! | 1002, 1007, 1009 | the client broke RFC 6455, sent a text that is not UTF-8, or more than [`Server::max_message_size`] |
//! | 4000 `draining` | the node goes: reconnect now |
//! | 4001 `heartbeat timeout` | nothing was heard for [`Server::idle_timeout`]: reconnect |
//! | 4002 `too slow` | the outbox ran over ([`Server::max_outbox_size`]): reconnect |
//! | 4500 `replaced by a newer connection`, 4503 `already connected` | the uid has another connection ([`Server::duplicates`]): stay away |
//! | 4501 `kicked`, and any other from 4500 on | stay away |
//!
//! A message that cannot be understood never ends a connection; a breach of RFC 6455 does.
#![forbid(unsafe_code)]

// The macros' expansion names this crate `::kengine`, in our own examples too.
#[allow(unused_extern_crates)]
extern crate self as kengine;

pub mod cluster;
mod connection;
mod dispatch;
mod handles;
mod http;
mod language;
mod local;
mod node;
mod server;
pub mod testing;
mod websocket;

pub use crate::{
    dispatch::{context::Context, dispatcher::Dispatcher, from_context::FromContext},
    handles::{connection::Connection, hub::Hub},
    http::{handshake::Handshake, refusal::Refusal},
    language::{
        call::Call,
        disconnect_reason::DisconnectReason,
        error::{Error, Result},
        liveness::Liveness,
        push::Push,
        session::Session,
        start_error::StartError,
        uid::{InvalidUid, Uid},
    },
    local::{connection_id::ConnectionId, limits::Duplicates},
    server::{Bound, Server, Service},
    websocket::close::{Close, CloseCode, InvalidCloseCode},
};

/// Rooms and users: what a [`Hub`] reaches, and who is there.
pub mod room {
    pub use crate::{
        handles::{
            everybody::Everybody,
            join::{Fill, Join},
            room::{Room, RoomCount, Rooms},
            user::User,
        },
        local::{
            audience::Who,
            join_error::JoinError,
            member::{Joined, Left, Member, Members},
            room::Occupants,
        },
    };
}

/// Pushes and questions: how they are delivered, and why they may fail.
pub mod push {
    pub use crate::{
        handles::ask::{Ask, AskError},
        language::push::Delivery,
        local::{outbox::Queued, send_error::SendError},
    };
}

/// What a client sends and gets, and what a dispatcher says about it.
pub mod wire {
    pub use crate::{
        dispatch::dispatcher::Hooks,
        language::{
            answer::Answer,
            envelope::Envelope,
            route::{Rate, Route},
            syntax::Syntax,
        },
        websocket::message::Message,
    };
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
#[doc = "\n# The expansion\n\nOf the program above, as `cargo expand` shows it:\n\n```"]
#[doc = "# #[derive(serde::Deserialize)] struct Chat { greeting: String }"]
#[doc = "# struct Game;"]
#[doc = include_str!("../docs/expansion/route.rs")]
#[doc = "```"]
#[doc = "\n[`guide::expansion`] goes through it line by line."]
pub use kengine_macros::dispatcher;
#[doc = include_str!("../docs/fallback.md")]
pub use kengine_macros::fallback;
#[doc = include_str!("../docs/heartbeat.md")]
pub use kengine_macros::heartbeat;
#[doc = include_str!("../docs/open.md")]
pub use kengine_macros::open;
#[doc = include_str!("../docs/route.md")]
pub use kengine_macros::route;

/// Pages to read, one subject each.
#[cfg(doc)]
pub mod guide {
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
    pub mod expansion {}

    #[doc = include_str!("../docs/rooms.md")]
    pub mod rooms {}

    #[cfg(feature = "redis")]
    #[doc = include_str!("../docs/nodes.md")]
    pub mod nodes {}

    #[cfg(feature = "redis")]
    #[doc = include_str!("../docs/deploying.md")]
    pub mod deploying {}

    #[doc = include_str!("../docs/game_loop.md")]
    #[doc = "```standalone_crate"]
    #[doc = "mod arena {"]
    #[doc = include_str!("../../examples/arena_room/arena.rs")]
    #[doc = "}\n\nmod arenas {"]
    #[doc = include_str!("../../examples/arena_room/arenas.rs")]
    #[doc = "}\n\nmod game {"]
    #[doc = include_str!("../../examples/arena_room/game.rs")]
    #[doc = "}"]
    #[doc = "# fn main() {}"]
    #[doc = "```"]
    pub mod game_loop {}
}

/// What compiler errors name: the traits with which the macros check the types of a block. You do not implement or call them.
pub mod bounds {
    pub use crate::{
        dispatch::expansion::{
            argument::{
                Event, IsAcceptArgument, IsHookArgument, IsMessage, IsOwned, IsReference, Lent, Undecodable,
                Valid,
            },
            composition::IsSameSession,
            reply::{IsErrorReply, IsHookOutput, IsLiveness, IsRefusal, IsReply, IsSession, handler_future},
        },
        language::push::{IsPushKey, IsSerialize},
    };
}

/// What the macros' expansion calls. Not public: it changes without notice.
#[doc(hidden)]
pub mod __private {
    pub use std::result::Result::Ok;

    pub use serde::Serialize;

    pub use crate::{
        Call, DisconnectReason, FromContext,
        bounds::*,
        dispatch::expansion::{
            argument::last,
            composition::{Part, Table, check_hook, check_routes, check_syntax, hooks, part, shifted},
            reply::{Accepted, EITHER, Returned},
            request::{call, enter, limit, no_message, position, route},
        },
    };

    /// The traits behind the method lookups, in scope without a name that could shadow one of the user's.
    pub mod lookup {
        pub use crate::dispatch::expansion::{
            argument::{FindLent as _, FindMessage as _, FindOther as _},
            composition::Unfit as _,
            reply::Plain as _,
        };
    }
}

/// The README's own examples, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
