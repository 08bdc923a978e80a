//! The leases of game loops in Redis, and the messages to the nodes that run them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use redis::{Pipeline, RedisResult, Value, from_redis_value};

use crate::cluster::redis::bus::{Bus, Target};
use crate::cluster::redis::message::{BusMessage, WireLoopMessage};
use crate::cluster::redis::scripts::Script;
use crate::cluster::redis::shared_state::{SharedState, millis};
use crate::node_state::{
    GameLoopError, LeaseAnswer, LeaseRequest, LeaseWish, LoopFault, LoopMessage, LoopStart, Unavailable,
};
use crate::protocol::logged;

impl Bus {
    /// Takes, renews and gives up leases.
    pub(super) async fn lease_loops(&self, requests: &[LeaseRequest]) -> Result<Vec<LeaseAnswer>, Unavailable> {
        let SharedState { keys, boot, joined, .. } = &*self.state;
        let joined = joined.load(Ordering::Relaxed);
        let Some((mut commands, scripts)) = self.commands().filter(|_| joined > 0) else { return Err(Unavailable) };
        let mut pipeline = Pipeline::with_capacity(requests.len());
        for LeaseRequest { room, kind, fence, is_valid, wish, saved, keep } in requests {
            let mut call = scripts.call(Script::Lease, &[&keys.game_loop(room), &keys.node]);
            call.arg(boot)
                .arg(*kind)
                .arg(joined)
                .arg(millis(self.state.loop_lease()))
                .arg(millis(*keep))
                .arg(*fence)
                .arg(u8::from(*is_valid))
                .arg(match wish {
                    LeaseWish::Renew => "renew",
                    LeaseWish::Start => "start",
                    LeaseWish::TakeOver => "take over",
                    LeaseWish::HandOver => "hand over",
                    LeaseWish::End => "end",
                })
                .arg(u8::from(saved.is_some()))
                .arg(saved.as_deref().unwrap_or_default());
            pipeline.add_command(call);
        }
        let answers: RedisResult<Vec<Vec<Value>>> = pipeline.query_async(&mut commands).await;
        let answers = answers.and_then(|answers| answers.into_iter().map(answer).collect());
        answers.map_err(|error| {
            tracing::debug!(error = logged(&error), "the leases of game loops cannot be renewed");
            Unavailable
        })
    }

    pub(super) fn send_to_loop(&self, room: &str, message: LoopMessage) -> Result<(), GameLoopError> {
        let SharedState { keys, boot, .. } = &*self.state;
        let (mut refusal, room_name) = (Bytes::new(), room.to_owned());
        let (wire, attachment) = match message {
            LoopMessage::Tell(kind, message) => {
                (WireLoopMessage::Tell { room: room_name, kind: kind.into_owned() }, message)
            }
            LoopMessage::Ask(kind, number, message) => {
                let fault = LoopFault::NotRunning;
                refusal = BusMessage::Loop(WireLoopMessage::Refused { number, fault }).encode(boot);
                (WireLoopMessage::Ask { room: room_name, kind: kind.into_owned(), number }, message)
            }
            LoopMessage::Roster { users, stands_by } => {
                (WireLoopMessage::Roster { room: room_name, users, stands_by }, Bytes::new())
            }
        };
        let bytes = BusMessage::Loop(wire).encode_with(boot, &[&attachment]);
        let target = Target::Loop { key: keys.game_loop(room), refusal };
        self.queue(target, bytes).map_err(|Unavailable| GameLoopError::Unavailable)
    }

    /// Answers another node's question. If the queue is full, the answer is dropped, and the other node's wait times
    /// out.
    pub(super) fn answer_for_loop(&self, node: &str, number: u64, answer: Result<Bytes, LoopFault>) {
        let SharedState { keys, boot, .. } = &*self.state;
        let (wire, reply) = match answer {
            Ok(reply) => (WireLoopMessage::Replied { number }, reply),
            Err(fault) => (WireLoopMessage::Refused { number, fault }, Bytes::new()),
        };
        let bytes = BusMessage::Loop(wire).encode_with(boot, &[&reply]);
        let _ = self.queue(Target::Channel(keys.node_channel(node)), bytes);
    }
}

/// Reads the answer of the script `lease`.
fn answer(values: Vec<Value>) -> RedisResult<LeaseAnswer> {
    let mut values = values.into_iter();
    let mut next = || values.next().unwrap_or(Value::Nil);
    let answer: String = from_redis_value(next())?;
    Ok(match &*answer {
        "renewed" => LeaseAnswer::Renewed { fence: from_redis_value(next())? },
        "created" => LeaseAnswer::Taken { fence: from_redis_value(next())?, start: LoopStart::Created },
        "moved" => {
            let fence = from_redis_value(next())?;
            let saved: Option<Vec<u8>> = from_redis_value(next())?;
            LeaseAnswer::Taken { fence, start: LoopStart::Moved(saved.map(Bytes::from)) }
        }
        "elsewhere" => {
            let remaining: u64 = from_redis_value(next())?;
            LeaseAnswer::Elsewhere { remaining: Duration::from_millis(remaining) }
        }
        "other" => LeaseAnswer::OtherKind(from_redis_value(next())?),
        _ => LeaseAnswer::Nowhere,
    })
}
