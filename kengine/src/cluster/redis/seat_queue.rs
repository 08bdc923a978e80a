//! The seats of this node's players, and what the directory must still be told about them and asked for.
//!
//! The table holds what this node has got. When the connection to the directory is made again, each of its rooms is set
//! to what the table holds, so what was lost on the way does not matter.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::node_state::{RoomTable, Seat, SeatRefusal, SeatRequest, Vacating, Wanted, WhenAway};
use crate::protocol::Uid;

/// The number of this node in its table.
const OWN: u64 = 0;
/// The number of requests for a seat that may wait.
const MAX_WAITING_SEATS: usize = 8 * 1024;
/// The maximum number of requests, and of rooms, in one round trip.
const MAX_ORDERS_PER_BATCH: usize = 256;
/// How long changes of rooms are gathered before a report, as for the load of the node. Requests for seats do not wait.
const REPORT_DELAY: Duration = Duration::from_millis(25);

/// The seats of this node's players, and what must be sent.
#[derive(Default)]
pub(super) struct SeatQueue {
    state: Mutex<QueueState>,
    changed: Notify,
}

#[derive(Default)]
struct QueueState {
    /// Whether the directory can be reached.
    is_up: bool,
    table: RoomTable,
    orders: VecDeque<Order>,
    /// The rooms that must be reported.
    rooms: HashMap<Arc<str>, Report>,
    last_report: Option<Instant>,
    /// Whether nodes may be gone whose seats must be removed.
    must_sweep: bool,
}

/// What is reported about a room besides the number of members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Report {
    /// What the room shows, because it has changed.
    public: bool,
    /// Everything, because the directory may not know it.
    all: bool,
}

/// A room that is reported.
pub(super) struct RoomReport {
    pub(super) room: Arc<str>,
    /// Whether what the room shows has changed.
    pub(super) public: bool,
    /// All seats, if the directory may not know them, each with whether it is kept for a player who comes back.
    pub(super) seats: Option<Vec<(Seat, bool)>>,
}

impl Report {
    const MEMBERS: Self = Self { public: false, all: false };
    const PUBLIC: Self = Self { public: true, all: false };
    const ALL: Self = Self { public: false, all: true };
}

/// What the directory is told or asked for, in this order.
#[derive(Debug)]
pub(super) enum Order {
    Take {
        request: SeatRequest,
        answer: oneshot::Sender<Result<Seat, SeatRefusal>>,
    },
    Vacate {
        room: Arc<str>,
        uid: Uid,
        number: u64,
        /// Whether the seat is kept for the player, unless another request holds it.
        is_kept: bool,
    },
    /// Nobody knows whether this request for a seat of a family was granted, and it is not wanted any more.
    Forget {
        family: Arc<str>,
        uid: Uid,
        number: u64,
    },
}

/// What is sent in one round trip. What has not arrived when this is dropped is sent again.
pub(super) struct Batch<'s> {
    seats: &'s SeatQueue,
    pub(super) orders: Vec<Order>,
    pub(super) rooms: Vec<RoomReport>,
    pub(super) must_sweep: bool,
}

/// A request that is waited for. If this is dropped before its answer is read, the seat is given up.
struct PendingSeat<'s> {
    seats: &'s SeatQueue,
    answer: oneshot::Receiver<Result<Seat, SeatRefusal>>,
}

/// Whether the directory can be reached: as long as this exists.
pub(super) struct Up<'s>(&'s SeatQueue);

impl SeatQueue {
    /// Takes a seat.
    pub(super) async fn take(&self, request: SeatRequest) -> Result<Seat, SeatRefusal> {
        let when_away = request.when_away;
        let taken = match self.order(request.clone()) {
            Some(mut pending) => (&mut pending.answer).await.unwrap_or(Err(SeatRefusal::Unavailable)),
            None => Err(SeatRefusal::Unavailable),
        };
        match taken {
            Err(SeatRefusal::Unavailable) if when_away == WhenAway::Local => {
                let mut state = self.lock();
                state.expire();
                let taken = state.table.take(OWN, &request).map(|(seat, _)| seat).ok_or(SeatRefusal::Full)?;
                state.report(&taken.room, Report::ALL);
                Ok(taken)
            }
            taken => taken,
        }
    }

    /// Orders a seat, unless the directory cannot be reached or too many requests wait.
    fn order(&self, request: SeatRequest) -> Option<PendingSeat<'_>> {
        let mut state = self.lock();
        state.expire();
        if !state.is_up || state.orders.len() >= MAX_WAITING_SEATS {
            return None;
        }
        let (sender, answer) = oneshot::channel();
        state.orders.push_back(Order::Take { request, answer: sender });
        drop(state);
        self.changed.notify_one();
        Some(PendingSeat { seats: self, answer })
    }

    pub(super) fn vacate(&self, seat: &Seat, when: Vacating) {
        let mut state = self.lock();
        let is_kept = state.table.keep(OWN, seat, when);
        state.vacate(seat, is_kept);
        drop(state);
        self.changed.notify_one();
    }

    /// Frees the seats that are kept for a user.
    pub(super) fn free_kept(&self, uid: &Uid) {
        let mut state = self.lock();
        let kept = state.table.take_kept(OWN, uid);
        if kept.is_empty() {
            return;
        }
        for seat in kept {
            state.vacate(&seat, false);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Records that a listed room must be reported.
    pub(super) fn report(&self, room: &str) {
        self.lock().report(&room.into(), Report::MEMBERS);
        self.changed.notify_one();
    }

    /// Records that what a room shows has changed.
    pub(super) fn set_public(&self, room: &str) {
        self.lock().report(&room.into(), Report::PUBLIC);
        self.changed.notify_one();
    }

    /// Records that the directory may have lost the listed rooms of this node and its seats, and that an earlier
    /// process at its address may have left some.
    pub(super) fn restore(&self, listed: Vec<Arc<str>>) {
        let mut state = self.lock();
        let known: Vec<_> = state.table.names().chain(state.rooms.keys()).cloned().collect();
        for name in known.into_iter().chain(listed) {
            state.report(&name, Report::ALL);
        }
        state.must_sweep = true;
        drop(state);
        self.changed.notify_one();
    }

    /// Records that a node is gone.
    pub(super) fn sweep(&self) {
        self.lock().must_sweep = true;
        self.changed.notify_one();
    }

    /// Records that the directory can be reached.
    pub(super) fn up(&self) -> Up<'_> {
        self.lock().is_up = true;
        Up(self)
    }

    /// Waits until there is something to send.
    pub(super) async fn next(&self) -> Batch<'_> {
        loop {
            let wake = match self.lock().take_batch() {
                Ok((orders, rooms, must_sweep)) => return Batch { seats: self, orders, rooms, must_sweep },
                Err(wake) => wake,
            };
            tokio::select! {
                () = self.changed.notified() => {}
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
    }

    /// Records a seat that the directory has given. If its connection is gone, the seat is given up.
    pub(super) fn granted(&self, seat: Seat, answer: oneshot::Sender<Result<Seat, SeatRefusal>>) {
        let mut state = self.lock();
        state.table.insert(OWN, &seat);
        if let Err(Ok(seat)) = answer.send(Ok(seat)) {
            state.vacate(&seat, false);
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        // No code that holds the lock can panic in the middle of a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type BatchParts = (Vec<Order>, Vec<RoomReport>, bool);

impl QueueState {
    /// Returns what to send now, or until when nothing is to be sent.
    fn take_batch(&mut self) -> Result<BatchParts, Option<Instant>> {
        self.expire();
        // Seats that the directory may not know come first, so that they are not given to others.
        let unknown = |(_, report): &(&Arc<str>, &Report)| report.all;
        let names: Vec<_> = self.rooms.iter().filter(unknown).map(|(name, _)| Arc::clone(name)).collect();
        let mut orders = Vec::new();
        while let Some(Order::Forget { .. }) = self.orders.front()
            && orders.len() < MAX_ORDERS_PER_BATCH
        {
            orders.extend(self.orders.pop_front());
        }
        if !names.is_empty() {
            let names = names.into_iter().take(MAX_ORDERS_PER_BATCH);
            return Ok((orders, self.take_rooms(names), false));
        }
        let count = self.orders.len().min(MAX_ORDERS_PER_BATCH - orders.len());
        orders.extend(self.orders.drain(..count));
        let report_at = self.last_report.map(|last| last + REPORT_DELAY).filter(|at| *at > Instant::now());
        let mut rooms = Vec::new();
        if report_at.is_none() && !self.rooms.is_empty() {
            self.last_report = Some(Instant::now());
            let names: Vec<_> = self.rooms.keys().take(MAX_ORDERS_PER_BATCH).cloned().collect();
            rooms = self.take_rooms(names);
        }
        let must_sweep = std::mem::take(&mut self.must_sweep);
        if orders.is_empty() && rooms.is_empty() && !must_sweep {
            let report_at = report_at.filter(|_| !self.rooms.is_empty());
            return Err(report_at.into_iter().chain(self.table.next_expiry()).min());
        }
        Ok((orders, rooms, must_sweep))
    }

    fn take_rooms(&mut self, names: impl IntoIterator<Item = Arc<str>>) -> Vec<RoomReport> {
        let names: Vec<_> = names.into_iter().collect();
        let taken = names.into_iter().map(|room| {
            let Report { public, all } = self.rooms.remove(&room).unwrap_or_default();
            let seats = all.then(|| self.table.seats_of(&room));
            RoomReport { room, public, seats }
        });
        taken.collect()
    }

    fn expire(&mut self) {
        for (_, seat) in self.table.take_expired() {
            self.vacate(&seat, false);
        }
    }

    /// Gives a seat up, or only tells the directory that it is kept.
    fn vacate(&mut self, seat: &Seat, is_kept: bool) {
        let is_last = !is_kept && self.table.vacate(OWN, seat);
        if !self.is_up {
            self.report(&seat.room, Report::ALL);
            return;
        }
        let Seat { room, uid, number, .. } = seat;
        self.orders.push_back(Order::Vacate { room: Arc::clone(room), uid: uid.clone(), number: *number, is_kept });
        if is_last {
            self.report(room, Report::MEMBERS);
        }
    }

    fn report(&mut self, room: &Arc<str>, report: Report) {
        let known = self.rooms.entry(Arc::clone(room)).or_default();
        known.public |= report.public;
        known.all |= report.all;
    }

    /// Records that nobody knows whether an order has arrived.
    fn lose(&mut self, order: Order) {
        match order {
            Order::Take { request: SeatRequest { wanted, uid, number, .. }, answer } => {
                match wanted {
                    Wanted::Room { name, .. } => self.report(&name, Report::ALL),
                    Wanted::Family { family, .. } => self.orders.push_front(Order::Forget { family, uid, number }),
                }
                // The connection may be gone.
                let _ = answer.send(Err(SeatRefusal::Unavailable));
            }
            Order::Vacate { room, .. } => self.report(&room, Report::ALL),
            forget @ Order::Forget { .. } => self.orders.push_front(forget),
        }
    }
}

impl Batch<'_> {
    /// Records that everything has arrived. Returns the orders, to be answered.
    pub(super) fn arrived(mut self) -> Vec<Order> {
        self.rooms.clear();
        self.must_sweep = false;
        std::mem::take(&mut self.orders)
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let mut state = self.seats.lock();
        for order in self.orders.drain(..) {
            state.lose(order);
        }
        for RoomReport { room, public, seats } in self.rooms.drain(..) {
            state.report(&room, Report { public, all: seats.is_some() });
        }
        state.must_sweep |= self.must_sweep;
    }
}

impl Drop for PendingSeat<'_> {
    fn drop(&mut self) {
        // From now on `granted` gives the seat up itself.
        self.answer.close();
        if let Ok(Ok(seat)) = self.answer.try_recv() {
            self.seats.vacate(&seat, Vacating::Now);
        }
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_up = false;
        for order in std::mem::take(&mut state.orders) {
            match order {
                // It was not sent.
                Order::Take { answer, .. } => _ = answer.send(Err(SeatRefusal::Unavailable)),
                order => state.lose(order),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node_state::Wanted;

    fn request(number: u64) -> SeatRequest {
        let uid = Uid::new("ada").unwrap();
        let wanted = Wanted::Room { name: "table".into(), family: None };
        SeatRequest { wanted, seats: 4, uid, number, when_away: WhenAway::Refuse }
    }

    fn seat(number: u64) -> Seat {
        let uid = Uid::new("ada").unwrap();
        Seat { room: "table".into(), family: None, seats: 4, uid, number, host: None }
    }

    fn shown(orders: &[Order]) -> Vec<(&'static str, u64)> {
        let shown = |order: &Order| match order {
            Order::Take { request, .. } => ("take", request.number),
            Order::Vacate { number, is_kept: true, .. } => ("keep", *number),
            Order::Vacate { number, .. } => ("vacate", *number),
            Order::Forget { number, .. } => ("forget", *number),
        };
        orders.iter().map(shown).collect()
    }

    /// Answers the requests of a batch as the directory does.
    fn answer(seats: &SeatQueue, batch: Batch<'_>) {
        for order in batch.arrived() {
            if let Order::Take { request, answer } = order {
                seats.granted(seat(request.number), answer);
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_seat_is_given_up_whenever_its_request_is_dropped() {
        let seats = SeatQueue::default();
        assert_eq!(seats.take(request(1)).await.unwrap_err(), SeatRefusal::Unavailable);
        let _up = seats.up();
        // Before it is answered, and after that, but before the answer is read.
        for number in [1, 2] {
            let pending = seats.order(request(number)).expect("an order");
            let batch = seats.next().await;
            assert_eq!(shown(&batch.orders), [("take", number)]);
            if number == 1 {
                drop(pending);
                answer(&seats, batch);
            } else {
                answer(&seats, batch);
                drop(pending);
            }
            let batch = seats.next().await;
            assert_eq!(shown(&batch.orders), [("vacate", number)]);
            batch.arrived();
        }
        assert_eq!(seats.lock().table.names().count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_seat_is_kept_until_it_is_taken_or_freed_or_its_time_is_over() {
        const KEPT: Vacating = Vacating::KeptFor(Duration::from_secs(7));
        let seats = SeatQueue::default();
        let up = seats.up();
        let take = async |number| {
            let mut pending = seats.order(request(number)).expect("an order");
            answer(&seats, seats.next().await);
            assert!((&mut pending.answer).await.unwrap().is_ok());
        };
        let orders = async || {
            let batch = seats.next().await;
            let orders = shown(&batch.orders);
            batch.arrived();
            orders
        };
        take(1).await;
        seats.vacate(&seat(1), KEPT);
        assert_eq!(orders().await, [("keep", 1)]);
        // The newer connection takes it over, and is replaced too.
        take(2).await;
        seats.vacate(&seat(2), KEPT);
        assert_eq!(orders().await, [("keep", 2)]);
        let ada = Uid::new("ada").unwrap();
        seats.free_kept(&ada);
        seats.free_kept(&ada);
        assert_eq!(orders().await, [("vacate", 2)]);
        take(3).await;
        seats.vacate(&seat(3), KEPT);
        assert_eq!(orders().await, [("keep", 3)]);
        let begun = Instant::now();
        assert_eq!(orders().await, [("vacate", 3)]);
        assert!(begun.elapsed() >= Duration::from_secs(7));
        // What is kept is still kept if the directory has lost it.
        take(4).await;
        drop(up);
        seats.vacate(&seat(4), KEPT);
        let _up = seats.up();
        let batch = seats.next().await;
        let restored = batch.rooms[0].seats.as_ref().expect("all seats");
        assert_eq!(restored.iter().map(|(seat, is_kept)| (seat.number, *is_kept)).collect::<Vec<_>>(), [(4, true)]);
    }

    #[tokio::test]
    async fn a_bounded_number_of_requests_waits() {
        let seats = SeatQueue::default();
        assert!(seats.order(request(0)).is_none(), "the directory is away");
        let _up = seats.up();
        let waiting = u64::try_from(MAX_WAITING_SEATS).unwrap();
        let mut orders: Vec<_> = (0..waiting).map_while(|number| seats.order(request(number))).collect();
        assert_eq!(orders.len(), MAX_WAITING_SEATS);
        assert!(seats.order(request(waiting)).is_none());
        answer(&seats, seats.next().await);
        orders.extend(seats.order(request(waiting)));
        assert_eq!(orders.len(), MAX_WAITING_SEATS + 1, "what was sent makes room");
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_not_have_arrived_is_set_right_before_further_seats_are_taken() {
        let seats = SeatQueue::default();
        let up = seats.up();
        let mut kept = seats.order(request(1)).expect("an order");
        answer(&seats, seats.next().await);
        assert!((&mut kept.answer).await.unwrap().is_ok());
        let mut lost = seats.order(request(2)).expect("an order");
        drop(seats.next().await);
        assert_eq!((&mut lost.answer).await.unwrap().unwrap_err(), SeatRefusal::Unavailable);
        drop(up);
        let _up = seats.up();
        let _next = seats.order(request(3)).expect("an order");
        let batch = seats.next().await;
        assert_eq!(shown(&batch.orders), []);
        let restored = batch.rooms[0].seats.as_ref().expect("all seats");
        assert_eq!(restored.iter().map(|(seat, is_kept)| (seat.number, *is_kept)).collect::<Vec<_>>(), [(1, false)]);
        batch.arrived();
        assert_eq!(shown(&seats.next().await.orders), [("take", 3)]);
    }
}
