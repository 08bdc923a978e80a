//! Connects to the bus, sends the queued messages, and reconnects.

use std::{convert::Infallible, sync::Arc};

use redis::{Pipeline, RedisResult};
use tokio::sync::mpsc;

use crate::cluster::redis::bus::{Bus, Outgoing, Target};
use crate::cluster::redis::connection::{Backoff, CommandConnection, connect, connect_subscriber};
use crate::cluster::redis::scripts::{Script, Scripts};
use crate::cluster::redis::shared_state::SharedState;
use crate::cluster::redis::subscriber::Subscriber;
use crate::protocol::logged;

/// The maximum number of messages in one round trip.
const MAX_MESSAGES_PER_BATCH: usize = 256;

/// Keeps the bus connected. Never returns.
pub(super) async fn run(bus: Arc<Bus>) {
    let mut outgoing = bus.outgoing.lock().await;
    let mut backoff = Backoff::new();
    loop {
        let Err(error) = run_connection(&bus, &mut outgoing, &mut backoff).await;
        bus.set_connection(None);
        bus.peers.reset();
        tracing::debug!(error = logged(&error), "the bus is away; reconnecting");
        backoff.wait().await;
    }
}

/// Connects to the bus, and serves the connection until it fails.
async fn run_connection(
    bus: &Bus,
    outgoing: &mut mpsc::Receiver<Outgoing>,
    backoff: &mut Backoff,
) -> RedisResult<Infallible> {
    let client = &bus.state.client;
    let mut commands = connect(client).await?;
    let scripts = Arc::new(Scripts::load(&mut commands).await?);
    let subscriptions = connect_subscriber(client).await?;
    let subscriber = Subscriber::start(bus, commands.clone(), subscriptions).await?;
    *backoff = Backoff::new();
    // Messages queued during the outage are dropped: delivery is at most once.
    while let Ok(message) = outgoing.try_recv() {
        bus.dequeued(&message);
    }
    bus.state.claim_again();
    bus.set_connection(Some((commands.clone(), Arc::clone(&scripts))));
    tokio::select! {
        ended = subscriber.run() => ended,
        ended = send(bus, outgoing, commands, &scripts) => ended,
    }
}

/// Sends the queued messages, in order, until the connection fails.
async fn send(
    bus: &Bus,
    outgoing: &mut mpsc::Receiver<Outgoing>,
    mut commands: CommandConnection,
    scripts: &Scripts,
) -> RedisResult<Infallible> {
    let SharedState { keys, boot, .. } = &*bus.state;
    let (channel_prefix, own_channel) = (keys.node_channel(""), keys.node_channel(boot));
    let mut batch = Vec::with_capacity(MAX_MESSAGES_PER_BATCH);
    loop {
        outgoing.recv_many(&mut batch, MAX_MESSAGES_PER_BATCH).await;
        let mut pipeline = Pipeline::with_capacity(batch.len());
        for message in batch.drain(..) {
            bus.dequeued(&message);
            match message.to {
                Target::Channel(channel) => _ = pipeline.publish(channel, &message.bytes[..]).ignore(),
                Target::User(key) => {
                    let mut call = scripts.call(Script::Route, &[&key]);
                    call.arg(&channel_prefix).arg(&message.bytes[..]);
                    pipeline.add_command(call).ignore();
                }
                Target::Loop { key, refusal } => {
                    let mut call = scripts.call(Script::Tell, &[&key]);
                    call.arg(&channel_prefix).arg(&message.bytes[..]).arg(&own_channel).arg(&refusal[..]);
                    pipeline.add_command(call).ignore();
                }
            }
        }
        pipeline.exec_async(&mut commands).await?;
    }
}
