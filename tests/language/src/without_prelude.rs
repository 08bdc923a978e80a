//! No prelude, and user types with the names of the prelude's items, of ours, and of the expansion's.

#![no_implicit_prelude]

#[derive(::serde::Deserialize)]
struct Option {
    result: ::std::primitive::u8,
}

#[derive(::serde::Serialize)]
struct Result {
    value: ::std::primitive::u8,
}

#[derive(::serde::Deserialize, ::serde::Serialize)]
struct String;

#[derive(::serde::Deserialize, ::serde::Serialize)]
struct Returned;

#[derive(::serde::Deserialize, ::serde::Serialize)]
struct Last;

#[derive(::serde::Deserialize, ::serde::Serialize)]
struct Decoded;

struct Context;
struct Answer;
struct Route;
struct Ok;
struct Some;
trait Dispatcher {}
trait Future {}
trait Send {}

struct Game;

impl Dispatcher for Game {}
impl Future for Game {}
impl Send for Game {}

impl Game {
    #[allow(dead_code)]
    const ROUTES: ::std::primitive::u8 = 1;
}

#[::kengine::dispatcher]
impl Game {
    #[route]
    async fn option(&self, option: Option) -> Result {
        let _ = (Context, Answer, Route, Ok, Some);
        Result { value: option.result }
    }

    #[cfg(any())]
    #[route]
    async fn off(&self) {}

    #[route]
    async fn string(&self, string: String) -> String {
        string
    }

    #[route]
    async fn returned(&self, returned: Returned) -> Returned {
        returned
    }

    #[route]
    async fn last(&self, last: Last) -> Last {
        last
    }

    #[route]
    async fn decoded(&self, decoded: Decoded) -> Decoded {
        decoded
    }

    #[route]
    async fn dispatch(&self, _: &::kengine::Connection) -> ::kengine::Result<()> {
        ::kengine::Result::Ok(())
    }

    #[route]
    async fn message(&self) {}

    #[route]
    async fn outcome(&self) {}

    #[heartbeat]
    async fn heartbeat(&self, _: &::kengine::Connection) -> ::kengine::Liveness {
        ::kengine::Liveness::Alive
    }
}

#[derive(::serde::Serialize, ::kengine::Push)]
#[push("moved", latest(player))]
struct Moved<T> {
    player: T,
}
