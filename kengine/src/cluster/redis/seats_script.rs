//! Calls the script `seats.lua`: sends what [`SeatQueue`](crate::cluster::redis::seat_queue::SeatQueue) has gathered,
//! and reads the list of rooms.

use std::convert::Infallible;
use std::sync::Arc;

use redis::{Cmd, Pipeline, RedisResult, Value, from_redis_value};
use tokio::sync::oneshot;

use crate::cluster::redis::connection::CommandConnection;
use crate::cluster::redis::keys::{DEFAULT_ROOM_LIFETIME, escaped, unescaped};
use crate::cluster::redis::scripts::{Script, Scripts};
use crate::cluster::redis::seat_queue::{Order, RoomReport};
use crate::cluster::redis::shared_state::{SharedState, millis};
use crate::node_state::{MAX_SCANNED_ROOMS, RoomPage, RoomQuery, RoomSummary, Seat, SeatRefusal, SeatRequest, Wanted};

/// The number of rooms that one call removes the seats of nodes from that are gone.
const MAX_SWEPT: usize = 100;
/// The number of seats that one call restores. Lua's `unpack` takes at most about 8,000 arguments.
const MAX_RESTORED: usize = 1000;

/// Serves requests for seats until the connection fails.
pub(super) async fn serve(
    state: &SharedState,
    mut connection: CommandConnection,
    scripts: &Scripts,
) -> RedisResult<Infallible> {
    let _up = state.seats.up();
    loop {
        let batch = state.seats.next().await;
        let mut pipeline = Pipeline::new();
        for order in &batch.orders {
            pipeline.add_command(call_for(state, scripts, order));
        }
        for RoomReport { room, public, seats } in &batch.rooms {
            if let Some(seats) = seats {
                restore(&mut pipeline, state, scripts, room, seats);
            }
            let (members, data) = state.node().map_or((0, None), |node| node.listing(room));
            let data = data.filter(|_| *public || seats.is_some());
            let mut report = call(state, scripts, "report");
            report.arg(escaped(room)).arg(members).arg(data.as_deref().unwrap_or_default()).arg(u8::from(*public));
            pipeline.add_command(report).ignore();
        }
        let mut answers: Vec<Value> = Vec::new();
        if !pipeline.is_empty() {
            answers = pipeline.query_async(&mut connection).await?;
        }
        if batch.must_sweep {
            sweep(state, &mut connection, scripts).await?;
        }
        let mut hosted = Pipeline::new();
        for (order, answer) in batch.arrived().into_iter().zip(answers) {
            if let Order::Take { request, answer: to } = order {
                grant(state, request, &answer, to, &mut hosted)?;
            }
        }
        if !hosted.is_empty() {
            hosted.exec_async(&mut connection).await?;
        }
    }
}

/// Removes the seats of nodes that are gone.
pub(super) async fn sweep(
    state: &SharedState,
    connection: &mut CommandConnection,
    scripts: &Scripts,
) -> RedisResult<()> {
    loop {
        let (has_more,): (bool,) = call(state, scripts, "sweep").arg(MAX_SWEPT).query_async(connection).await?;
        if !has_more {
            return Ok(());
        }
    }
}

/// Returns a page of the rooms that have seats or show data.
pub(super) async fn list(
    state: &SharedState,
    connection: &mut CommandConnection,
    scripts: &Scripts,
    query: RoomQuery<'_>,
) -> RedisResult<RoomPage> {
    type Row = (String, usize, usize, usize, String, Vec<String>);
    let mut call = call(state, scripts, "list");
    let (prefix, after) = (escaped(query.prefix), escaped(query.after));
    // Else the page would begin before the rooms of the prefix.
    let after = if after >= prefix { &*after } else { "" };
    call.arg(&prefix).arg(after).arg(query.max);
    call.arg(u8::from(query.with_free_seats)).arg(MAX_SCANNED_ROOMS);
    let (last, rows): (String, Vec<Row>) = call.query_async(connection).await?;
    let mut page = RoomPage {
        next: Some(last).filter(|last| !last.is_empty()).map(|last| unescaped(&last)),
        ..RoomPage::default()
    };
    for (name, members, seats, taken, public, mut nodes) in rows {
        nodes.sort_unstable();
        let public = Some(&*public).filter(|public| !public.is_empty());
        let mut room = RoomSummary::new(&unescaped(&name), seats, taken, public);
        (room.members, room.nodes) = (members, nodes);
        page.rooms.push(room);
    }
    Ok(page)
}

/// Returns a call of the script for this node.
fn call(state: &SharedState, scripts: &Scripts, command: &str) -> Cmd {
    let mut call = scripts.call(Script::Seats, &[&state.keys.lease]);
    call.arg(command).arg(format!("{}|{}", state.keys.address, state.boot));
    call
}

fn call_for(state: &SharedState, scripts: &Scripts, order: &Order) -> Cmd {
    let mut call = call(
        state,
        scripts,
        match order {
            Order::Take { .. } => "take",
            Order::Vacate { is_kept: true, .. } => "keep",
            Order::Vacate { .. } | Order::Forget { .. } => "vacate",
        },
    );
    match order {
        Order::Take { request: SeatRequest { wanted, seats, uid, number, .. }, .. } => {
            match wanted {
                Wanted::Room { name, family } => {
                    call.arg(escaped(name)).arg(family.as_deref().map(escaped).unwrap_or_default()).arg("")
                }
                Wanted::Family { family, fresh } => call.arg("").arg(escaped(family)).arg(escaped(fresh)),
            };
            call.arg(seats).arg(uid.as_str()).arg(number);
        }
        Order::Vacate { room, uid, number, .. } => {
            call.arg(escaped(room)).arg("").arg(uid.as_str()).arg(number);
        }
        Order::Forget { family, uid, number } => {
            call.arg("").arg(escaped(family)).arg(uid.as_str()).arg(number);
        }
    }
    call
}

/// Sets the seats of this node's players in a room.
fn restore(pipeline: &mut Pipeline, state: &SharedState, scripts: &Scripts, room: &str, seats: &[(Seat, bool)]) {
    let family = seats.first().and_then(|(seat, _)| seat.family.as_deref()).unwrap_or_default();
    let size = seats.first().map_or(0, |(seat, _)| seat.seats);
    let chunks = seats.chunks(MAX_RESTORED).chain(seats.is_empty().then_some(seats));
    for (number, chunk) in chunks.enumerate() {
        let mut call = call(state, scripts, "restore");
        call.arg(escaped(room)).arg(escaped(family)).arg(size).arg(u8::from(number > 0));
        for (Seat { uid, number, .. }, is_kept) in chunk {
            let mark = if *is_kept { "~" } else { "" };
            call.arg(uid.as_str()).arg(format!("{number}{mark}"));
        }
        pipeline.add_command(call).ignore();
    }
}

/// Passes the answer to a request for a seat on.
fn grant(
    state: &SharedState,
    request: SeatRequest,
    answer: &Value,
    to: oneshot::Sender<Result<Seat, SeatRefusal>>,
    hosted: &mut Pipeline,
) -> RedisResult<()> {
    let refusal = match from_redis_value::<Vec<Value>>(answer.clone())?.as_slice() {
        [Value::Int(1), room, family, host] => {
            let text = |value: &Value| from_redis_value::<String>(value.clone());
            let (room, family, host) = (text(room)?, text(family)?, text(host)?);
            if !host.is_empty() {
                let mut set = redis::cmd("SET");
                // Gateways send players to the node of the room for this time.
                set.arg(state.keys.room(&unescaped(&room))).arg(&host);
                set.arg("PX").arg(millis(DEFAULT_ROOM_LIFETIME));
                hosted.add_command(set);
            }
            let some = |text: String| Some(text).filter(|text| !text.is_empty());
            let SeatRequest { seats, uid, number, .. } = request;
            let room = unescaped(&room).into();
            let family = some(family).map(|family| unescaped(&family).into());
            let host = some(host).map(Arc::from);
            state.seats.granted(Seat { room, family, seats, uid, number, host }, to);
            return Ok(());
        }
        [Value::Int(0)] => SeatRefusal::Full,
        _ => SeatRefusal::Unavailable,
    };
    // The connection may be gone.
    let _ = to.send(Err(refusal));
    Ok(())
}
