//! A connection as the rest of the node sees it.

use serde_json::Value;

use crate::{
    language::{syntax::Syntax, uid::Uid},
    local::{connection_id::ConnectionId, memberships::Memberships, outbox::Outbox, questions::Questions},
};

/// A connection with any session, as the rest of the node sees it.
pub(crate) trait Recipient: Send + Sync {
    fn id(&self) -> ConnectionId;
    fn uid(&self) -> &Uid;
    fn syntax(&self) -> &'static Syntax;
    fn outbox(&self) -> &Outbox;
    fn memberships(&self) -> &Memberships;
    fn questions(&self) -> &Questions;
    /// Returns what other players may see of this one; `null` if it cannot be written as JSON.
    fn public(&self) -> Value;
}
