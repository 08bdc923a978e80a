//! The hand-over of sessions over the bus, and the store for their messages.

use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::{Cmd, RedisResult};

use crate::cluster::redis::bus::{Bus, Target};
use crate::cluster::redis::claims::name_of_connection;
use crate::cluster::redis::message::BusMessage;
use crate::cluster::redis::scripts::Script;
use crate::cluster::redis::shared_state::{SharedState, millis};
use crate::node_state::{
    Asker, BoxFuture, ConnectionId, HandOverStep, HandOvers, SessionAsk, SessionOffer, StoredSession, Unavailable,
};
use crate::protocol::{Uid, logged};

/// How long the messages of a session are stored, and how long it is known that they were taken. The old node never
/// asks so late.
const STORE_LIFETIME: Duration = Duration::from_secs(120);

impl Bus {
    fn encode_step(&self, number: u64, step: HandOverStep) -> Bytes {
        BusMessage::HandOver { number, step }.encode(&self.state.boot)
    }

    /// Takes what is stored under this key, and publishes `notice` in the node's channel if something is.
    async fn take_stored(&self, key: String, node: &str, notice: &[u8]) -> Result<StoredSession, Unavailable> {
        let (mut commands, scripts) = self.commands().ok_or(Unavailable)?;
        let mut call = scripts.call(Script::Take, &[&key]);
        call.arg(millis(STORE_LIFETIME)).arg(self.state.keys.node_channel(node)).arg(notice);
        let taken: RedisResult<Option<Vec<u8>>> = call.query_async(&mut commands).await;
        match taken {
            Ok(None) => Ok(StoredSession::Absent),
            Ok(Some(messages)) if messages == b"t" => Ok(StoredSession::Taken),
            Ok(Some(messages)) => Ok(StoredSession::Messages(messages.into())),
            Err(error) => {
                tracing::debug!(error = logged(&error), "the messages of a session cannot be taken");
                Err(Unavailable)
            }
        }
    }
}

impl HandOvers for Bus {
    fn ask(&self, tag: u32, number: u64, ask: SessionAsk) -> BoxFuture<'_, bool> {
        let SharedState { keys, boot, .. } = &*self.state;
        let message = BusMessage::Session { number, ask }.encode(boot);
        Box::pin(async move {
            let Some((mut commands, scripts)) = self.commands() else { return false };
            let mut call: Cmd = scripts.call(Script::Ask, &[&keys.lease]);
            call.arg(format!("{tag:08x}")).arg(keys.node_channel("")).arg(&message[..]);
            let asked: RedisResult<bool> = call.query_async(&mut commands).await;
            asked.unwrap_or_else(|error| {
                tracing::debug!(error = logged(&error), "no node can be asked for a session");
                false
            })
        })
    }

    fn tell(&self, node: &str, number: u64, step: HandOverStep) {
        let _ = self.queue(Target::Channel(self.state.keys.node_channel(node)), self.encode_step(number, step));
    }

    fn ready(&self, old_node: &str, number: u64, offer: &SessionOffer, uid: Option<&Uid>) -> Result<(), Unavailable> {
        let SharedState { keys, boot, .. } = &*self.state;
        let refusal = self.encode_step(number, HandOverStep::Refused);
        let texts = [
            keys.node_channel(""),
            old_node.to_owned(),
            offer.connection.to_string(),
            offer.number.to_string(),
            keys.address.clone(),
            boot.clone(),
            number.to_string(),
        ];
        let arguments = texts.into_iter().map(Bytes::from).chain([refusal]).collect();
        let key = uid.map(|uid| keys.user(uid.as_str()));
        let ready = HandOverStep::Ready { connection: offer.connection, uid: uid.cloned() };
        let ready = self.encode_step(number, ready);
        self.queue(Target::Script { script: Script::Ready, key, arguments }, ready)
    }

    fn store(&self, asker: &Asker, messages: Vec<u8>) -> Result<(), Unavailable> {
        let keys = &self.state.keys;
        let stored = self.encode_step(asker.number, HandOverStep::Stored);
        let arguments = vec![millis(STORE_LIFETIME).to_string().into(), keys.node_channel(&asker.node).into(), stored];
        let key = Some(keys.session(&asker.node, asker.number));
        self.queue(Target::Script { script: Script::Store, key, arguments }, messages.into())
    }

    fn take<'a>(
        &'a self,
        connection: ConnectionId,
        old_node: &'a str,
        offer: &'a SessionOffer,
    ) -> BoxFuture<'a, Result<StoredSession, Unavailable>> {
        Box::pin(async move {
            let taken = self.encode_step(connection.0, HandOverStep::Taken(offer.connection));
            let key = self.state.keys.session(&self.state.boot, connection.0);
            let stored = self.take_stored(key, old_node, &taken).await?;
            if matches!(stored, StoredSession::Messages(_)) {
                self.state.claims().settle(&offer.uid, connection);
            }
            Ok(stored)
        })
    }

    fn take_back<'a>(&'a self, asker: &'a Asker) -> BoxFuture<'a, Result<StoredSession, Unavailable>> {
        let key = self.state.keys.session(&asker.node, asker.number);
        Box::pin(self.take_stored(key, "", b""))
    }

    fn forget(&self, asker: &Asker) {
        let key = Some(self.state.keys.session(&asker.node, asker.number));
        let _ = self.queue(Target::Script { script: Script::Forget, key, arguments: Vec::new() }, Bytes::new());
    }

    fn hold(&self, room: &str) {
        self.peers.hold(room);
    }

    fn let_go(&self, room: &str) {
        self.peers.let_go(room);
    }

    fn adopt(&self, uid: &Uid, connection: ConnectionId, order: u64, (old_node, old_connection): (&str, u64)) {
        let giver = name_of_connection(old_node, old_connection);
        self.state.claims().adopt(uid, connection, order, giver, Instant::now());
    }

    fn give_up(&self, uid: &Uid, connection: ConnectionId) {
        let SharedState { keys, boot, .. } = &*self.state;
        let key = Some(keys.user(uid.as_str()));
        let arguments = vec![boot.clone().into()];
        let _ = self.queue(Target::Script { script: Script::Release, key, arguments }, connection.0.to_string().into());
    }

    fn keep(&self, uid: &Uid, connection: ConnectionId, asker: &Asker) {
        self.state.claims().take_back(uid, connection, name_of_connection(&asker.node, asker.number));
        self.state.load_changed.notify_one();
    }

    fn part_with(&self, uid: &Uid, connection: ConnectionId) {
        self.state.claims().lose(uid, connection);
    }
}
