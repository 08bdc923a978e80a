//! The encoding of messages between nodes: the length of the header (32 bits, big-endian), the header as JSON, and
//! attachments.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::node_state::{
    Address, Audience, ClusterNode, EncodedPush, HandOverStep, LoopFault, LoopMessage, Member, NodeMessage, Presence,
    SessionAsk,
};
use crate::protocol::resumption::KeyedFrame;
use crate::protocol::{PushKey, Syntax, Uid};
use crate::websocket::{Close, CloseCode};

/// A message on the bus.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum BusMessage {
    /// A message to connections of other nodes.
    Node { to: Address<String>, message: WireNodeMessage },
    /// A connection has lost its uid to a newer one. The script `claim` appends the number of the connection.
    Lose { uid: Uid },
    /// The sender has a member in the room from now on, and waits for a `Seen` of every node there.
    Hello { room: String },
    /// The answer to `Hello`. `is_member`: whether the sender counts as a member node, because its own hello was
    /// published and it has not sent `Bye`.
    Seen { room: String, is_member: bool },
    /// The sender has no member in the room any more.
    Bye { room: String },
    /// Asks every node in the room's channel for the members of the room.
    Who { room: String, number: u64 },
    /// The answer to the `Who` with this number.
    Here { number: u64, members: Vec<Member> },
    /// A message to or from a game loop.
    Loop(WireLoopMessage),
    /// Asks for a session. The sender knows it by this number.
    Session { number: u64, ask: SessionAsk },
    /// A step of the hand-over of the session that the node to which it goes knows by this number.
    HandOver { number: u64, step: HandOverStep },
    /// A node's message to itself, which shows that the bus works.
    Echo,
}

/// The wire form of a [`NodeMessage`]. The attachments of a push are its frames, one per syntax, and then the push's
/// key, if it has one. `syntaxes` names the key member and the payload member of each syntax.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum WireNodeMessage {
    Push { syntaxes: Vec<(String, Option<String>)>, audience: Audience },
    Presence { presence: Presence, member: Member },
    Kick { code: u16, reason: String },
    Listed,
    LoopIsFree,
    LoopWasAlone,
}

/// The wire form of a [`LoopMessage`] or of the answer to one. The attachment is the message or the reply.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum WireLoopMessage {
    Tell { room: String, kind: String },
    Ask { room: String, kind: String, number: u64 },
    Roster { room: String, users: Vec<Uid>, stands_by: bool },
    Replied { number: u64 },
    Refused { number: u64, fault: LoopFault },
}

/// A received message.
pub(super) struct Received {
    /// The boot id of the sender.
    pub(super) from: String,
    pub(super) message: BusMessage,
    pub(super) attachments: Vec<Bytes>,
    /// The number that follows the attachments, if the script `claim` has appended one.
    pub(super) number: Option<u64>,
}

impl BusMessage {
    /// Encodes a message without attachments.
    pub(super) fn encode(&self, from: &str) -> Bytes {
        self.encode_with(from, &[])
    }

    pub(super) fn encode_with(&self, from: &str, attachments: &[&[u8]]) -> Bytes {
        let lengths: Vec<_> = attachments.iter().map(|attachment| attachment.len()).collect();
        let mut bytes = BytesMut::with_capacity(256);
        bytes.put_u32(0);
        // Cannot fail, because strings and numbers are written into memory.
        let _ = serde_json::to_writer((&mut bytes).writer(), &(from, self, lengths));
        let length = u32::try_from(bytes.len() - 4).unwrap_or(u32::MAX);
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        for attachment in attachments {
            bytes.extend_from_slice(attachment);
        }
        bytes.freeze()
    }
}

/// Encodes a message to connections of other nodes.
pub(super) fn encode(from: &str, to: Address<&str>, message: &NodeMessage) -> Bytes {
    let mut attachments = Vec::new();
    let message = match message {
        NodeMessage::Push { push: EncodedPush { frames }, audience } => {
            let key = frames.first().and_then(|(_, frame)| frame.key());
            attachments.extend(frames.iter().map(|(_, frame)| frame.bytes()).chain(key.map(|key| &key[..])));
            let wire_syntax = |syntax: &Syntax| (syntax.key().to_owned(), syntax.payload().map(str::to_owned));
            let syntaxes = frames.iter().map(|(syntax, _)| wire_syntax(syntax)).collect();
            WireNodeMessage::Push { syntaxes, audience: audience.clone() }
        }
        NodeMessage::Presence { presence, member } => {
            WireNodeMessage::Presence { presence: *presence, member: member.clone() }
        }
        NodeMessage::Kick(close) => {
            WireNodeMessage::Kick { code: close.code().get(), reason: close.reason().to_owned() }
        }
        NodeMessage::Listed => WireNodeMessage::Listed,
        NodeMessage::LoopIsFree => WireNodeMessage::LoopIsFree,
        NodeMessage::LoopWasAlone => WireNodeMessage::LoopWasAlone,
    };
    BusMessage::Node { to: to.map(|name| (*name).to_owned()), message }.encode_with(from, &attachments)
}

impl WireNodeMessage {
    /// Returns the message, with the frames of those syntaxes that this node uses.
    pub(super) fn decode(self, attachments: Vec<Bytes>, syntaxes: &[&'static Syntax]) -> Option<NodeMessage> {
        Some(match self {
            Self::Push { syntaxes: encoded, audience } => {
                let key = attachments.get(encoded.len()).map(|key| PushKey::from(&key[..]));
                let find = |(key, payload): &(String, Option<String>)| {
                    let is_same = |own: &&Syntax| own.key() == key && own.payload() == payload.as_deref();
                    syntaxes.iter().copied().find(is_same)
                };
                let frames = encoded.iter().zip(attachments);
                let frame = |frame: Bytes| KeyedFrame::own(frame.to_vec(), key.clone());
                let frames = frames.filter_map(|(syntax, bytes)| Some((find(syntax)?, frame(bytes)))).collect();
                NodeMessage::Push { push: EncodedPush { frames }, audience }
            }
            Self::Presence { presence, member } => NodeMessage::Presence { presence, member },
            Self::LoopIsFree => NodeMessage::LoopIsFree,
            Self::LoopWasAlone => NodeMessage::LoopWasAlone,
            Self::Kick { code, reason } => NodeMessage::Kick(Close::new(CloseCode::new(code)?, reason)),
            Self::Listed => NodeMessage::Listed,
        })
    }
}

impl WireLoopMessage {
    /// Refuses a message that this node has sent and has got itself, because it took the loop over in between. It may
    /// have been overtaken by later ones that did not travel over the bus.
    pub(super) fn come_back(self, node: &dyn ClusterNode) {
        match self {
            Self::Ask { number, .. } => node.receive_from_loop(number, Err(LoopFault::NotRunning)),
            Self::Refused { number, fault } => node.receive_from_loop(number, Err(fault)),
            Self::Tell { .. } | Self::Roster { .. } | Self::Replied { .. } => {}
        }
    }

    /// Passes a received message to the node.
    pub(super) fn deliver(self, node: &dyn ClusterNode, from: &str, attachments: Vec<Bytes>) {
        let bytes = attachments.into_iter().next().unwrap_or_default();
        match self {
            Self::Tell { room, kind } => node.receive_for_loop(from, &room, LoopMessage::Tell(kind.into(), bytes)),
            Self::Ask { room, kind, number } => {
                node.receive_for_loop(from, &room, LoopMessage::Ask(kind.into(), number, bytes));
            }
            Self::Roster { room, users, stands_by } => {
                node.receive_for_loop(from, &room, LoopMessage::Roster { users, stands_by });
            }
            Self::Replied { number } => node.receive_from_loop(number, Ok(bytes)),
            Self::Refused { number, fault } => node.receive_from_loop(number, Err(fault)),
        }
    }
}

impl Received {
    /// Decodes a message. Returns `None` if it is invalid, for example because another version of kengine sent it.
    pub(super) fn decode(mut bytes: Bytes) -> Option<Self> {
        let length = usize::try_from(bytes.try_get_u32().ok()?).ok()?;
        let header = split_to(&mut bytes, length)?;
        let (from, message, lengths): (_, _, Vec<usize>) = serde_json::from_slice(&header).ok()?;
        let attachments = lengths.into_iter().map(|length| split_to(&mut bytes, length)).collect::<Option<_>>()?;
        let number = std::str::from_utf8(&bytes).ok().and_then(|digits| digits.parse().ok());
        Some(Self { from, message, attachments, number })
    }
}

fn split_to(bytes: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: Syntax = Syntax::flat("type");

    /// A push with a key, encoded for two syntaxes.
    fn push() -> Bytes {
        let frame = |bytes: &[u8]| KeyedFrame::own(bytes.to_vec(), Some(PushKey::from(&b"key"[..])));
        let push = EncodedPush { frames: vec![(&Syntax::DEFAULT, frame(b"\x81\x02{}")), (&OTHER, frame(b"\xff\x00"))] };
        let message = NodeMessage::Push { push, audience: Audience::default() };
        encode("boot", Address::Room("a \"room\""), &message)
    }

    #[test]
    fn a_push_arrives_with_its_key_and_the_frames_of_known_syntaxes() {
        for (syntaxes, expected) in [
            (&[&OTHER, &Syntax::DEFAULT][..], vec![&b"\x81\x02{}"[..], b"\xff\x00"]),
            (&[&OTHER], vec![b"\xff\x00"]),
            // The same key with another payload, and another key with the same payload, are other syntaxes.
            (&[&const { Syntax::flat("method") }, &const { Syntax::new("type", "message") }], vec![]),
            (&[], vec![]),
        ] {
            let received = Received::decode(push()).expect("a message");
            assert_eq!((&*received.from, received.number), ("boot", None));
            let BusMessage::Node { to, message } = received.message else { panic!("another message") };
            assert_eq!(to, Address::Room("a \"room\"".to_owned()));
            let decoded = message.decode(received.attachments, syntaxes);
            let Some(NodeMessage::Push { push, .. }) = decoded else { panic!("another message") };
            assert!(push.frames.iter().all(|(_, frame)| frame.key().is_some_and(|key| **key == b"key"[..])));
            let frames: Vec<_> = push.frames.iter().map(|(_, frame)| frame.bytes()).collect();
            assert_eq!(frames, expected);
        }
    }

    #[test]
    fn the_number_that_the_script_appends_is_read() {
        let lose = BusMessage::Lose { uid: Uid::new("ada").unwrap() }.encode("boot");
        let received = Received::decode([&lose[..], b"42"].concat().into()).expect("a message");
        assert!(matches!(received.message, BusMessage::Lose { uid } if uid.as_str() == "ada"));
        assert_eq!(received.number, Some(42));
    }

    #[test]
    fn a_message_that_is_cut_off_is_invalid() {
        let push = push();
        for length in 0..push.len() {
            assert!(Received::decode(push.slice(..length)).is_none(), "{length} bytes");
        }
    }
}
