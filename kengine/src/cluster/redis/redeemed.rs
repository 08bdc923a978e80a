//! Redeemed reservations that have not been reported to the directory.

use std::collections::VecDeque;

use crate::http::ReservationId;

/// The number of reservations that may wait, 16 bytes each. A reservation expires 5 s after it was made, so if this
/// many wait, the oldest are about to expire.
const MAX_WAITING: usize = 8192;

/// Redeemed reservations, oldest first.
#[derive(Default)]
pub(super) struct Redeemed {
    waiting: VecDeque<ReservationId>,
}

impl Redeemed {
    /// Adds a reservation. If too many wait, the oldest one is not reported; it expires soon.
    pub(super) fn add(&mut self, reservation: ReservationId) {
        if self.waiting.len() == MAX_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(reservation);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes at most `max` reservations, in the form in which gateways write them. If the report is lost, they expire.
    pub(super) fn take(&mut self, max: usize) -> Vec<String> {
        self.waiting.drain(..max.min(self.waiting.len())).map(|id| id.to_string()).collect()
    }
}
