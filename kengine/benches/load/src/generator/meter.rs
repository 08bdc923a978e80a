//! Counts what happens between the end of the warm-up and the end of a measurement.

use std::io;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::process::{Server, cpu_of_all, own_cpu};

/// What was measured while a server was under load.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sample {
    /// In µs of user and system time.
    pub cpu_per_unit: f64,
    pub units_per_second: f64,
    /// How much of its core the server used, from 0 to 1.
    pub server_use: f64,
    /// How much of its core the generator used, from 0 to 1.
    pub generator_use: f64,
    /// In ms.
    pub latency: Option<Latency>,
}

/// In ms.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
}

/// How long a measurement takes.
#[derive(Clone, Copy, Debug)]
pub struct Period {
    pub warm_up: Duration,
    pub measured: Duration,
}

/// Measures servers, while the generator loads them.
#[derive(Debug)]
pub struct Meter<'s> {
    servers: &'s [Server],
    period: Period,
    warm_up_ends: Instant,
    begun: Option<Begun>,
    units: u64,
    latencies: Vec<Duration>,
}

/// What was read at the end of the warm-up.
#[derive(Debug)]
struct Begun {
    at: Instant,
    server_cpu: Duration,
    own_cpu: Duration,
}

impl<'s> Meter<'s> {
    pub fn start(servers: &'s [Server], period: Period) -> Self {
        let warm_up_ends = Instant::now() + period.warm_up;
        Self { servers, period, warm_up_ends, begun: None, units: 0, latencies: Vec::new() }
    }

    /// Returns `false` when the measurement is over. Called after each wait for sockets.
    pub fn runs(&mut self) -> io::Result<bool> {
        let now = Instant::now();
        if let Some(begun) = &self.begun {
            return Ok(now.duration_since(begun.at) < self.period.measured);
        }
        if now >= self.warm_up_ends {
            self.begun = Some(Begun { at: now, server_cpu: cpu_of_all(self.servers)?, own_cpu: own_cpu()? });
        }
        Ok(true)
    }

    /// Counts units: answers, connections or deliveries.
    pub fn count(&mut self, units: usize) {
        if self.begun.is_some() {
            self.units += units as u64;
        }
    }

    /// Counts an answer to what was sent then.
    pub fn count_since(&mut self, sent: Instant) {
        if self.begun.is_some() {
            self.units += 1;
            self.latencies.push(sent.elapsed());
        }
    }

    pub fn finish(mut self) -> io::Result<Sample> {
        let Some(begun) = self.begun else { return Err(io::Error::other("the warm-up did not end")) };
        let server_cpu = cpu_of_all(self.servers)?.saturating_sub(begun.server_cpu).as_secs_f64();
        let own_cpu = own_cpu()?.saturating_sub(begun.own_cpu).as_secs_f64();
        let seconds = begun.at.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "these are far fewer than 2^52")]
        let units = self.units as f64;
        if self.units == 0 {
            return Err(io::Error::other("the server did nothing"));
        }
        self.latencies.sort_unstable();
        let latency = (!self.latencies.is_empty()).then(|| {
            let at = |percent: usize| self.latencies[(self.latencies.len() - 1) * percent / 100].as_secs_f64() * 1e3;
            Latency { p50: at(50), p99: at(99) }
        });
        Ok(Sample {
            cpu_per_unit: server_cpu / units * 1e6,
            units_per_second: units / seconds,
            server_use: server_cpu / seconds,
            generator_use: own_cpu / seconds,
            latency,
        })
    }
}
