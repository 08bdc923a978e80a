//! What will go wrong and when, drawn from a seed.

use std::time::Duration;

use kengine_tests::{Dice, Network};

use crate::{
    cluster::{NODES, Path},
    node::LEASE,
};

/// Something that goes wrong. Everything but [`Fault::Flush`] ends by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// A node is killed with SIGKILL, and started again after this time.
    Kill { node: usize, away: Duration },
    /// A node is stopped with SIGSTOP for this time.
    Freeze { node: usize, time: Duration },
    /// A node drains after SIGTERM, and is started again this time after it has ended.
    Drain { node: usize, away: Duration },
    /// The network behaves like this for this time.
    Network { path: Path, network: Network, time: Duration },
    /// Every connection on a path is reset.
    Reset { path: Path },
    /// Redis is killed, and started again after this time.
    RestartRedis { data: Data, away: Duration },
    /// Redis is stopped with SIGSTOP for this time.
    FreezeRedis { time: Duration },
    /// Redis loses everything.
    Flush,
    /// The gateway reads its files again in new workers.
    ReloadGateway,
    /// The gateway is stopped, and started again after this time.
    RestartGateway { away: Duration },
}

/// What Redis still knows after a restart.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Data {
    Lost,
    /// Everything up to its end.
    Kept,
    /// What it knew this long before its end.
    Old(Duration),
}

/// Draws faults.
#[derive(Debug)]
pub(crate) struct Plan {
    dice: Dice,
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed) }
    }

    /// Draws the faults of one storm, each with the time at which it begins.
    pub(crate) fn storm(&mut self) -> Vec<(Duration, Fault)> {
        let (length, count) = (self.between(8_000, 20_000), 3 + self.dice.roll(10));
        let mut faults: Vec<_> = (0..count).map(|_| (self.between(0, length.as_millis()), self.fault())).collect();
        faults.sort_by_key(|(at, _)| *at);
        faults
    }

    /// Draws whether a node is killed after the storm and stays away until the next one.
    pub(crate) fn absent(&mut self) -> Option<usize> {
        let node = self.dice.roll(3 * NODES);
        (node < NODES).then_some(node)
    }

    fn fault(&mut self) -> Fault {
        let node = self.dice.roll(NODES);
        match self.dice.roll(22) {
            0..=1 => Fault::Kill { node, away: self.time() },
            2..=4 => Fault::Freeze { node, time: self.time() },
            5..=6 => Fault::Drain { node, away: self.time() },
            7..=12 => Fault::Network { path: self.path(), network: self.network(), time: self.time() },
            13..=15 => Fault::Reset { path: self.path() },
            16..=17 => Fault::RestartRedis { data: self.data(), away: self.time() },
            18 => Fault::FreezeRedis { time: self.time() },
            19 => Fault::Flush,
            20 => Fault::ReloadGateway,
            _ => Fault::RestartGateway { away: self.between(0, 2_000) },
        }
    }

    fn path(&mut self) -> Path {
        let paths = Path::all();
        paths[self.dice.roll(paths.len())]
    }

    fn network(&mut self) -> Network {
        match self.dice.roll(4) {
            0 => Network::Slow(self.between(1, 300)),
            1 => Network::Stalled,
            2 => Network::Mute,
            _ => Network::Refused,
        }
    }

    fn data(&mut self) -> Data {
        match self.dice.roll(3) {
            0 => Data::Lost,
            1 => Data::Kept,
            _ => Data::Old(self.between(500, 5_000)),
        }
    }

    /// Draws how long a fault lasts: shorter or longer than a lease.
    fn time(&mut self) -> Duration {
        match self.dice.roll(2) {
            0 => self.between(50, LEASE.as_millis()),
            _ => self.between(LEASE.as_millis(), 4 * LEASE.as_millis()),
        }
    }

    /// Draws a time between two, both in milliseconds.
    fn between(&mut self, low: u128, high: u128) -> Duration {
        let span = usize::try_from(high - low).expect("a few seconds").max(1);
        Duration::from_millis(u64::try_from(low).expect("a few seconds") + self.dice.roll(span) as u64)
    }
}
