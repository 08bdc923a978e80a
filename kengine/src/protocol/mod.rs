//! The values that a dispatcher, a client and the server exchange. Nothing here depends on a socket or a node.

mod answer;
mod call;
mod const_text;
mod disconnect_reason;
mod envelope;
mod error;
mod liveness;
mod logged;
mod name_characters;
pub(crate) mod push;
pub(crate) mod resumption;
mod route;
mod session;
mod start_error;
mod syntax;
mod uid;

pub use self::answer::Answer;
pub use self::call::Call;
pub(crate) use self::const_text::{ConstText, equal};
pub use self::disconnect_reason::DisconnectReason;
pub use self::envelope::Envelope;
pub use self::error::{Error, Result};
pub use self::liveness::Liveness;
pub(crate) use self::logged::logged;
pub(crate) use self::name_characters::is_forbidden_in_names;
pub use self::push::{Delivery, IsPushKey, IsSerialize, Push};
pub(crate) use self::push::{PushKey, check_name_is_free};
pub use self::route::{Rate, Route};
pub use self::session::Session;
pub use self::start_error::StartError;
pub use self::syntax::Syntax;
pub(crate) use self::uid::random_bits;
pub use self::uid::{InvalidUid, Uid};
