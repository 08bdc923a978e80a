//! Receives messages from the bus, and keeps the subscriptions up to date.

use std::convert::Infallible;

use futures_util::StreamExt;
use redis::aio::{PubSub, PubSubSink, PubSubStream};
use redis::{Pipeline, RedisResult};
use tokio::time::{MissedTickBehavior, interval};

use crate::cluster::redis::bus::Bus;
use crate::cluster::redis::connection::{CommandConnection, lost, within_timeout};
use crate::cluster::redis::echoes::Echoes;
use crate::cluster::redis::message::{BusMessage, Received, WireNodeMessage};
use crate::cluster::redis::shared_state::SharedState;
use crate::node_state::{Address, ConnectionId, Duplicates, call_catching};

/// The maximum number of rooms whose channels are subscribed, or in which a hello is published, in one round trip.
const MAX_ROOMS_PER_BATCH: usize = 256;

/// The receiving half of a connection to the bus.
pub(super) struct Subscriber<'b> {
    bus: &'b Bus,
    commands: CommandConnection,
    sink: PubSubSink,
    stream: PubSubStream,
    /// Each [`BusMessage::Echo`] that this node publishes to itself.
    echoes: Echoes,
}

impl<'b> Subscriber<'b> {
    /// Subscribes to this node's channel, the common channel, and the channels of the rooms that already have members.
    pub(super) async fn start(bus: &'b Bus, commands: CommandConnection, subscriptions: PubSub) -> RedisResult<Self> {
        let (sink, stream) = subscriptions.split();
        let mut subscriber = Self { bus, commands, sink, stream, echoes: Echoes::new() };
        let SharedState { keys, boot, .. } = &*bus.state;
        let channels = [keys.node_channel(boot), keys.common_channel()];
        within_timeout(subscriber.sink.subscribe(&channels[..])).await?;
        subscriber.subscribe_rooms().await?;
        Ok(subscriber)
    }

    /// Receives until the connection fails.
    pub(super) async fn run(mut self) -> RedisResult<Infallible> {
        let mut beat = interval(self.bus.state.lease / 3);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = self.stream.next() => {
                    let Some(message) = message else { return Err(lost("the bus was closed")) };
                    let bytes = message.get_payload::<Vec<u8>>().ok();
                    if let Some(received) = bytes.and_then(|bytes| Received::decode(bytes.into())) {
                        // This may call the user's code, which decides what a session shows to other players.
                        let _ = call_catching(|| self.receive(received));
                    }
                }
                () = self.bus.peers.added.notified() => self.subscribe_rooms().await?,
                _ = beat.tick() => self.beat().await?,
            }
        }
    }

    /// Subscribes to the channels of new rooms, and publishes a hello in each.
    async fn subscribe_rooms(&mut self) -> RedisResult<()> {
        let SharedState { keys, boot, .. } = &*self.bus.state;
        for rooms in self.bus.peers.unsubscribed().chunks(MAX_ROOMS_PER_BATCH) {
            let channels: Vec<_> = rooms.iter().map(|room| keys.room_channel(room)).collect();
            within_timeout(self.sink.subscribe(&channels)).await?;
            let mut hellos = Pipeline::with_capacity(rooms.len());
            for (room, channel) in rooms.iter().zip(&channels) {
                hellos.publish(channel, &BusMessage::Hello { room: room.to_string() }.encode(boot)[..]);
            }
            let receivers = hellos.query_async(&mut self.commands).await?;
            self.bus.peers.greeted(rooms, receivers);
        }
        Ok(())
    }

    /// Leaves the channels of rooms without members, forgets nodes that are gone, and checks that the bus works.
    async fn beat(&mut self) -> RedisResult<()> {
        if self.echoes.are_lost() {
            return Err(lost("no echo came over the bus in time"));
        }
        let (SharedState { keys, boot, .. }, peers) = (&*self.bus.state, &self.bus.peers);
        let mut pipeline = Pipeline::new();
        self.echoes.sent();
        pipeline.publish(keys.node_channel(boot), &BusMessage::Echo.encode(boot)[..]).ignore();
        let nodes: Vec<_> = peers.nodes().into_iter().collect();
        let left = peers.take_left();
        let channels: Vec<_> = left.iter().map(|room| keys.room_channel(room)).collect();
        for (room, channel) in left.iter().zip(&channels) {
            let bye = BusMessage::Bye { room: room.to_string() };
            pipeline.publish(channel, &bye.encode(boot)[..]).ignore();
        }
        if !nodes.is_empty() {
            let mut count = redis::cmd("PUBSUB");
            count.arg("NUMSUB").arg(nodes.iter().map(|node| keys.node_channel(node)).collect::<Vec<_>>());
            pipeline.add_command(count);
        }
        let counts: Vec<Vec<(String, usize)>> = pipeline.query_async(&mut self.commands).await?;
        for (node, (_, subscribers)) in nodes.iter().zip(counts.into_iter().flatten()) {
            if subscribers == 0 {
                peers.forget(node);
            }
        }
        if !channels.is_empty() {
            within_timeout(self.sink.unsubscribe(&channels)).await?;
            // A room that got a member meanwhile is subscribed again.
            peers.added.notify_one();
        }
        Ok(())
    }

    fn receive(&mut self, received: Received) {
        let Self { bus, .. } = self;
        let Some(node) = bus.state.node() else { return };
        if received.from == bus.state.boot {
            match received.message {
                BusMessage::Echo => self.echoes.came(),
                BusMessage::Loop(message) => message.come_back(&*node),
                _ => {}
            }
            return;
        }
        let Received { from, message, attachments, number } = received;
        match message {
            BusMessage::Node { to, message } => {
                if let Some(message) = message.decode(attachments, node.syntaxes()) {
                    node.receive(to.map(String::as_str), &message);
                }
            }
            BusMessage::Lose { uid } => {
                if let Some(number) = number {
                    bus.state.lose(&uid, ConnectionId(number), Duplicates::Replace);
                }
            }
            BusMessage::Hello { room } => {
                let is_member = bus.peers.hello(&room, from.clone());
                if node.is_listed(&room) {
                    let message = WireNodeMessage::Listed;
                    bus.answer(&from, &BusMessage::Node { to: Address::Room(room.clone()), message });
                }
                bus.answer(&from, &BusMessage::Seen { room, is_member });
            }
            BusMessage::Seen { room, is_member } => bus.peers.seen(&room, from, is_member),
            BusMessage::Bye { room } => bus.peers.bye(&room, &from),
            BusMessage::Who { room, number } => {
                let members = node.members(&room);
                bus.answer(&from, &BusMessage::Here { number, members });
            }
            BusMessage::Here { number, members } => bus.answered(number, members),
            BusMessage::Loop(message) => message.deliver(&*node, &from, attachments),
            BusMessage::Echo => {}
        }
    }
}
