//! What nodes say to each other, as bytes: a header in JSON behind its length, then the frames as they go to sockets.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::{
    language::{push::PushKey, syntax::Syntax, uid::Uid},
    local::{
        audience::Audience,
        cluster_interface::{Address, NodeMessage},
        delivery::EncodedPush,
        member::{Member, Presence},
    },
    websocket::close::{Close, CloseCode},
};

/// The channels of the bus.
pub(super) mod channel {
    use super::super::keys::Encoded;

    /// That of one node, by its boot id.
    pub(in super::super) fn node(prefix: &str, boot: &str) -> String {
        format!("{prefix}:bus:node:{boot}")
    }

    /// That of all nodes.
    pub(in super::super) fn everybody(prefix: &str) -> String {
        format!("{prefix}:bus:all")
    }

    /// That of the nodes which have somebody in a room.
    pub(in super::super) fn room(prefix: &str, room: &str) -> String {
        format!("{prefix}:bus:room:{}", Encoded(room))
    }
}

/// Something that one node says to others.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Message {
    /// A push, or what else the hub takes, for somebody.
    Parcel { to: Address<String>, parcel: Header },
    /// A connection has lost its uid to a newer one; the number of the connection stands behind the header, where the
    /// script that knows it puts it.
    Lose { uid: Uid },
    /// The sender has somebody in the room from now on, and waits for everyone's `Seen`.
    Hello { room: String },
    /// The answer: whether the sender has somebody there, too.
    Seen { room: String, is_member: bool },
    /// The sender has nobody in the room any more.
    Bye { room: String },
    /// Who is in the room? Asked on the room's channel; the answer is to have this number.
    Who { room: String, number: u64 },
    /// The answer.
    Here { number: u64, members: Vec<Member> },
    /// To itself: the bus works.
    Echo { number: u64 },
}

/// A [`Parcel`] but for its bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Header {
    Push {
        /// How many bytes the key has, which stand before the frames.
        key: Option<usize>,
        /// What each frame is encoded for, and how many bytes it has.
        frames: Vec<(String, Option<String>, usize)>,
        audience: Audience,
    },
    Presence {
        presence: Presence,
        member: Member,
    },
    Kick {
        code: u16,
        reason: String,
    },
}

/// A message with its sender, and what stands behind the header.
pub(super) struct Received {
    pub(super) from: String,
    pub(super) message: Message,
    rest: Bytes,
}

impl Message {
    /// The bytes of a message without frames.
    pub(super) fn encode(&self, from: &str) -> Bytes {
        self.with(from, |_| {})
    }

    fn with(&self, from: &str, rest: impl FnOnce(&mut BytesMut)) -> Bytes {
        let mut bytes = BytesMut::with_capacity(256);
        bytes.put_u32(0);
        // Strings and numbers into memory: neither the writer nor the value has a way to fail.
        let _ = serde_json::to_writer((&mut bytes).writer(), &(from, self));
        let length = u32::try_from(bytes.len() - 4).unwrap_or(u32::MAX);
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        rest(&mut bytes);
        bytes.freeze()
    }
}

/// The bytes of a parcel for somebody.
pub(super) fn encode(from: &str, to: Address<&str>, message: &NodeMessage) -> Bytes {
    let to = to.map(|name| (*name).to_owned());
    match message {
        NodeMessage::Push { push: EncodedPush { frames, key }, audience } => {
            let shown = frames.iter().map(|(syntax, frame)| {
                (syntax.key().to_owned(), syntax.payload().map(str::to_owned), frame.len())
            });
            let header = Header::Push {
                key: key.as_ref().map(|key| key.len()),
                frames: shown.collect(),
                audience: audience.clone(),
            };
            Message::Parcel { to, parcel: header }.with(from, |bytes| {
                bytes.extend_from_slice(key.as_deref().unwrap_or_default());
                frames.iter().for_each(|(_, frame)| bytes.extend_from_slice(frame));
            })
        }
        NodeMessage::Presence { presence, member } => {
            let header = Header::Presence { presence: *presence, member: member.clone() };
            Message::Parcel { to, parcel: header }.encode(from)
        }
        NodeMessage::Kick(close) => {
            let header = Header::Kick { code: close.code().get(), reason: close.reason().to_owned() };
            Message::Parcel { to, parcel: header }.encode(from)
        }
    }
}

impl Received {
    /// Reads a message; `None` if it is none, as of another version.
    pub(super) fn read(mut bytes: Bytes) -> Option<Self> {
        let length = usize::try_from(bytes.try_get_u32().ok()?).ok()?;
        if length > bytes.len() {
            return None;
        }
        let header = bytes.split_to(length);
        let (from, message) = serde_json::from_slice(&header).ok()?;
        Some(Self { from, message, rest: bytes })
    }

    /// The number that stands behind the header.
    pub(super) fn number(&self) -> Option<u64> {
        std::str::from_utf8(&self.rest).ok()?.parse().ok()
    }

    /// The parcel of this header, with frames for those of our endpoints that were encoded for.
    pub(super) fn parcel(&mut self, syntaxes: &[&'static Syntax]) -> Option<NodeMessage> {
        let Self { message: Message::Parcel { parcel, .. }, rest, .. } = self else { return None };
        Some(match parcel {
            Header::Push { key, frames, audience } => {
                let key = match *key {
                    Some(length) if length <= rest.len() => Some(PushKey::from(&rest.split_to(length)[..])),
                    Some(_) => return None,
                    None => None,
                };
                let mut known = Vec::with_capacity(frames.len());
                for (name, payload, length) in frames.iter() {
                    if *length > rest.len() {
                        return None;
                    }
                    let frame = rest.split_to(*length);
                    let same = |syntax: &&&'static Syntax| {
                        syntax.key() == name && syntax.payload() == payload.as_deref()
                    };
                    known.extend(syntaxes.iter().find(same).map(|syntax| (*syntax, frame)));
                }
                NodeMessage::Push { push: EncodedPush { frames: known, key }, audience: audience.clone() }
            }
            Header::Presence { presence, member } => {
                NodeMessage::Presence { presence: *presence, member: member.clone() }
            }
            Header::Kick { code, reason } => {
                NodeMessage::Kick(Close::new(CloseCode::new(*code)?, reason.clone()))
            }
        })
    }
}
