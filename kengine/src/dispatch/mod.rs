//! From a message to its handler: the trait that `#[dispatcher]` implements, and what its expansion calls.

mod context;
mod dispatcher;
pub(crate) mod expansion;
mod from_context;
mod progress;
mod route_limits;

pub use self::context::Context;
pub(crate) use self::dispatcher::request_id;
pub use self::dispatcher::{Dispatcher, Hooks};
pub use self::expansion::argument::{
    Decoded, Event, Given, IsAcceptArgument, IsHookArgument, IsMessage, IsOwned, IsReference, Lent, Undecodable,
};
pub use self::expansion::composition::IsSameSession;
pub use self::expansion::placement::handler_future;
pub use self::expansion::reply::{
    Fallible, Infallible, IsAcceptOutput, IsErrorReply, IsHookOutput, IsLiveness, IsRefusal, IsReply, IsSession,
};
pub use self::from_context::FromContext;
pub(crate) use self::progress::Progress;
