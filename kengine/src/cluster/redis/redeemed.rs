//! Reservations of gateways that are redeemed, and of which the directory has not been told.

use std::{collections::VecDeque, mem};

use crate::http::reservation::ReservationId;

/// How many may wait, 16 bytes each. A reservation expires 5 s after it was made: of so many, the oldest are about to.
const MOST: usize = 8192;

#[derive(Default)]
pub(super) struct Redeemed {
    /// The oldest first.
    untold: VecDeque<ReservationId>,
}

impl Redeemed {
    /// Past the bound the oldest is forgotten, and expires.
    pub(super) fn add(&mut self, reservation: ReservationId) {
        if self.untold.len() == MOST {
            self.untold.pop_front();
        }
        self.untold.push_back(reservation);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.untold.is_empty()
    }

    /// Takes at most so many, as gateways write them, to tell them. What is not heard then expires.
    pub(super) fn take(&mut self, most: usize) -> Vec<String> {
        let rest = self.untold.split_off(most.min(self.untold.len()));
        mem::replace(&mut self.untold, rest).iter().map(ToString::to_string).collect()
    }
}
