//! The HTTP side of a handshake: reading, checking and refusing requests.

mod gateway;
mod handshake;
mod host;
mod origins;
mod proxies;
mod query;
mod refusal;
mod refusal_form;
mod request_head;
mod reservation;
mod switching_protocols;
mod upgrade_request;

pub(crate) use self::gateway::{goes_to_another_node, send_to_another_node};
pub(crate) use self::host::{Hosts, target_host};
pub(crate) use self::origins::Origins;
pub(crate) use self::proxies::Proxies;
pub(crate) use self::query::{check_query, resume_parameters};
pub(crate) use self::refusal::Body;
pub(crate) use self::request_head::read_plain_head;
pub(crate) use self::reservation::ReservationId;
pub(crate) use self::switching_protocols::SwitchingProtocols;
pub(crate) use self::upgrade_request::{check_size, check_upgrade, choose_subprotocol};
pub use self::{handshake::Handshake, refusal::Refusal, refusal_form::RefusalForm};
