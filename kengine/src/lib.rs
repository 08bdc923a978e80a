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
//! async fn main() -> kengine::Result<()> {
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
//! | `timeout` | the handler took longer than [`Server::handle_within`], or its route's own `timeout` |
//! | `internal` | the handler panicked, or failed for a cause that is not the client's to know |
//!
//! | close code | when |
//! |---|---|
//! | 1002, 1007, 1009 | the client broke RFC 6455, sent a text that is not UTF-8, or more than [`Server::largest_message`] |
//! | 4000 `draining` | the node goes: reconnect now |
//! | 4001 `heartbeat timeout` | nothing was heard for [`Server::idle_time`]: reconnect |
//! | 4002 `too slow` | the outbox ran over ([`Server::outbox`]): reconnect |
//! | 4500 `replaced by a newer connection`, 4503 `already connected` | the uid has another connection ([`Server::duplicates`]): stay away |
//! | 4501 `kicked`, and any other from 4500 on | stay away |
//!
//! A message that cannot be understood never ends a connection; a breach of RFC 6455 does.
#![forbid(unsafe_code)]

// The macros' expansion names this crate `::kengine`, in our own examples too.
#[allow(unused_extern_crates)]
extern crate self as kengine;

mod answer;
mod argument;
mod close;
mod cluster;
mod composition;
mod connection;
mod contained;
mod dispatch;
mod endpoint;
mod envelope;
mod error;
mod extract;
#[cfg(feature = "redis")]
pub mod gateway;
mod handshake;
mod heartbeat;
mod hooks;
mod hub;
mod metrics;
mod node;
mod outbox;
mod policy;
mod proxies;
mod push;
mod refusal;
mod reply;
mod reservation;
mod route;
mod server;
mod service;
mod session;
mod socket;
pub mod testing;
mod wakes;

#[cfg(feature = "redis")]
pub use crate::cluster::Redis;
pub use crate::{
    answer::Answer,
    close::{Close, CloseCode},
    cluster::Memory,
    connection::{Ask, AskError, Connection, ConnectionId},
    dispatch::{Context, Dispatcher, Frame, Hooks},
    envelope::{Envelope, Syntax},
    error::{Error, Result},
    extract::FromContext,
    handshake::Handshake,
    heartbeat::Liveness,
    hooks::{Call, DisconnectReason},
    hub::{
        Duplicates, Everybody, Fill, Hub, Join, JoinError, Joined, Left, Member, Members, Occupants, Room,
        RoomCount, Rooms, User, Who,
    },
    outbox::{Queued, SendError},
    push::{Delivery, Push},
    refusal::Refusal,
    route::{Rate, Route},
    server::{Bound, Server},
    service::Service,
    session::{InvalidUid, Session, Uid},
};

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

/// What the macros' expansion stands on. Not public: it changes without notice.
#[doc(hidden)]
pub mod __private {
    pub use std::result::Result::Ok;

    pub use crate::{
        argument::{Ahead, Argument, Hook, Last},
        composition::{Part, Table, check_hook, check_routes, check_syntax, fits, hooks, part, shifted},
        extract::{context, handshake, no_message, route},
        policy::{call, limit},
        push::{Encoded, key},
        reply::{Admission, EITHER, Returned, enter, position, sent, session},
    };

    /// The traits behind the method lookups, in scope without a name that could shadow one of the user's.
    pub mod lookup {
        pub use crate::{
            argument::{
                Apart as _, Decoded as _, Foreign as _, Lending as _, Misplaced as _, Owned as _,
                Reference as _, Telling as _, Unknown as _,
            },
            composition::Unfit as _,
            reply::Plain as _,
        };
    }
}

/// The README's own examples, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
