//! Every form of the language, in a crate that forbids warnings and has no prelude.

// The lints that serde's derive macros allow cannot be forbidden.
#![deny(warnings, unused_qualifications)]
#![forbid(missing_docs, unreachable_pub, single_use_lifetimes, deprecated, unsafe_code)]
#![forbid(clippy::pedantic, clippy::nursery)]
#![no_implicit_prelude]

/// Every attribute, in a block with no options.
pub mod chat {
    use ::kengine::{
        Call, Connection, Context, DisconnectReason, Error, FromContext, Handshake, Liveness, Refusal,
        Session, Uid, wire::Envelope,
    };
    use ::serde::{Deserialize, Serialize};
    use ::std::{
        borrow::Cow,
        convert::From,
        option::Option::{self, None, Some},
        result::Result::{self, Err, Ok},
        string::String,
    };

    /// The session of a player.
    #[derive(::std::fmt::Debug)]
    pub struct Player {
        name: String,
        level: u32,
    }

    impl Session for Player {
        fn uid(&self) -> Option<Uid> {
            Uid::new(&self.name).ok()
        }
    }

    /// The error of a player without a ticket.
    #[derive(::std::fmt::Debug)]
    pub struct NoTicket;

    impl From<NoTicket> for Refusal {
        fn from(NoTicket: NoTicket) -> Self {
            Self::unauthorized("no ticket")
        }
    }

    /// Why a request is refused.
    #[derive(::std::fmt::Debug)]
    pub enum Refused {
        /// The player is too young.
        Level,
    }

    impl From<Refused> for Error {
        fn from(refused: Refused) -> Self {
            match refused {
                Refused::Level => Self::new("level", "grow up"),
            }
        }
    }

    /// The level that some routes require, taken from the context.
    #[derive(::std::fmt::Debug)]
    pub struct Grown(u32);

    impl FromContext<'_, Player> for Grown {
        type Error = ::kengine::Error;

        fn from_context(context: Context<'_, Player>) -> ::kengine::Result<Self> {
            match context.session().level {
                0 => Err(Refused::Level.into_error()),
                level => Ok(Self(level)),
            }
        }
    }

    impl Refused {
        fn into_error(self) -> Error {
            Error::from(self)
        }
    }

    /// A message that borrows.
    #[derive(::std::fmt::Debug, Deserialize)]
    pub struct Whisper<'a> {
        to: &'a str,
        #[serde(borrow)]
        text: Cow<'a, str>,
    }

    /// A message that owns.
    #[derive(::std::fmt::Debug, Deserialize)]
    pub struct Say {
        text: String,
    }

    /// A reply.
    #[derive(::std::fmt::Debug, Serialize)]
    pub struct Said {
        length: usize,
    }

    /// The dispatcher.
    #[derive(::std::fmt::Debug, ::std::default::Default)]
    pub struct Chat;

    #[::kengine::dispatcher]
    impl Chat {
        #[accept]
        async fn enter(&self, handshake: &Handshake) -> Result<Player, NoTicket> {
            let Some(name) = handshake.query("name") else { return Err(NoTicket) };
            Ok(Player { name: String::from(name), level: 1 })
        }

        #[open]
        async fn greet(&self, connection: &Connection<Player>, player: &Player) -> Result<(), Error> {
            connection.send(&super::pushes::Arrived { name: String::from(player.name.as_str()) })?;
            Ok(())
        }

        #[suspend]
        async fn away(&self, player: &Player) {
            let _ = player;
        }

        #[resume]
        async fn back(&self, player: &Player) -> Result<(), Refused> {
            if player.level == 0 { Err(Refused::Level) } else { Ok(()) }
        }

        #[close]
        async fn leave(&self, reason: &DisconnectReason, player: &Player) {
            let _ = (reason, player);
        }

        #[before]
        async fn guard(&self, call: &Call, player: &Player) -> Result<(), Refused> {
            if player.level < 3 && call.size > 4096 { Err(Refused::Level) } else { Ok(()) }
        }

        #[heartbeat]
        async fn alive(&self, player: &Player) -> Liveness {
            if player.level == 0 { Liveness::Silent } else { Liveness::Alive }
        }

        #[fallback]
        async fn rest(&self, envelope: &Envelope<'_>) -> Result<usize, Error> {
            Ok(envelope.size())
        }

        /// A route named after its method, with every kind of argument.
        #[route]
        async fn whisper(
            &self,
            connection: &Connection<Player>,
            player: &Player,
            envelope: &Envelope<'_>,
            grown: Grown,
            whisper: Whisper<'_>,
        ) -> Option<Said> {
            let _ = (connection.uid(), player, envelope.payload(), grown.0, whisper.to);
            if whisper.text.is_empty() { None } else { Some(Said { length: whisper.text.len() }) }
        }

        #[route("say", rate = "30/s", burst = 60, max_size = "512B", timeout = "50ms")]
        async fn speak(&self, say: Say) -> Result<Said, Refused> {
            Ok(Said { length: say.text.len() })
        }

        #[route(rate = "10/min", max_size = "4KiB")]
        async fn wave(&self, _: Grown) {}

        /// A reply that borrows from the session.
        #[route("name")]
        async fn called<'a>(&self, player: &'a Player) -> &'a str {
            &player.name
        }

        #[cfg(any())]
        #[route]
        async fn off(&self) {}
    }
}

/// The options for the form of a message, and a generic block.
pub mod shop {
    use ::kengine::Uid;
    use ::std::{marker::Send, marker::Sync, string::String};

    /// The source of prices.
    pub trait Prices: Send + Sync + 'static {
        /// Returns the price of one thing.
        fn of(&self, thing: &str) -> u32;
    }

    /// The dispatcher.
    #[derive(::std::fmt::Debug)]
    pub struct Shop<P> {
        prices: P,
    }

    #[::kengine::dispatcher(key = "type", payload = "body", prefix = "shop.", session = Uid)]
    impl<P: Prices> Shop<P> {
        #[route]
        async fn price(&self, uid: &Uid, thing: String) -> u32 {
            let _ = uid;
            self.prices.of(&thing)
        }
    }

    /// A dispatcher whose messages have no payload.
    #[derive(::std::fmt::Debug)]
    pub struct Flat;

    #[::kengine::dispatcher(flat)]
    impl Flat {
        #[route]
        async fn nothing(&self) {}
    }
}

/// Pushes, in every form.
pub mod pushes {
    use ::serde::Serialize;
    use ::std::string::String;

    /// A push with the default name.
    #[derive(::std::fmt::Debug, Serialize, ::kengine::Push)]
    #[push(reliable)]
    pub struct Arrived {
        /// The player's name.
        pub name: String,
    }

    /// A push with a name and a key.
    #[derive(::std::fmt::Debug, Serialize, ::kengine::Push)]
    #[push("position", latest(player))]
    pub struct Position {
        /// The player.
        pub player: u32,
        /// The position.
        pub x: f32,
    }

    /// A generic push, of which one waits at most per type.
    #[derive(::std::fmt::Debug, Serialize, ::kengine::Push)]
    #[push(latest)]
    pub enum Round<T> {
        /// The round has not begun.
        Waiting,
        /// The round has begun.
        Playing(T),
    }
}

/// Several dispatchers as one.
pub mod app {
    use crate::chat::{Chat, Player};

    #[derive(::std::fmt::Debug)]
    struct Combat;

    #[::kengine::dispatcher(prefix = "combat.", session = Player)]
    impl Combat {
        #[route]
        async fn attack(&self, target: u32) -> u32 {
            target
        }
    }

    /// Two dispatchers, one of them private.
    #[derive(::std::fmt::Debug, ::kengine::Dispatcher)]
    #[kengine(session = Player)]
    pub struct App {
        combat: Combat,
        chat: Chat,
    }

    /// Two parts of any type.
    #[derive(::std::fmt::Debug, ::kengine::Dispatcher)]
    #[kengine()]
    pub struct Both<A, B> {
        one: A,
        other: B,
    }

    /// Serves the dispatchers.
    ///
    /// # Errors
    ///
    /// Returns an error if the address is taken.
    pub async fn serve() -> ::core::result::Result<(), ::kengine::StartError> {
        let both = Both { one: App { combat: Combat, chat: Chat }, other: Combat };
        let _ = both.other;
        ::kengine::Server::new(both.one).bind("127.0.0.1:0").await?.serve().await
    }
}
