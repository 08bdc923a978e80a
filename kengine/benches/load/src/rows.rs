//! The rows of the table: a load, the servers that carry it, and the budget of kengine.

use serde::Serialize;

use crate::generator::{Load, Measured, State};
use crate::servers::{
    AXUM, BATCHED, CURRENT_THREAD, FASTWEBSOCKETS, HAND_WRITTEN, IDLE_THREAD, KENGINE, LARGE_FUTURE, Program, RAW_TCP,
    RESUMING, SOCKETIOXIDE, SOCKUDO_WS, TUNGSTENITE,
};

/// A load, and what it is measured for.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name in arguments and files.
    pub name: &'static str,
    pub title: &'static str,
    pub load: Load,
    /// What is counted: one of them, and several.
    pub unit: Unit,
    pub servers: &'static [Program],
    /// The server that the others are compared with.
    pub reference: Program,
    /// What is compared. The first metric is drawn.
    pub budgets: &'static [Budget],
    /// The servers that have to meet the budgets.
    pub subjects: &'static [Program],
    /// At most so many rounds, where more would show the same.
    pub max_rounds: usize,
}

#[derive(Clone, Copy, Debug)]
pub struct Unit {
    pub one: &'static str,
    pub several: &'static str,
}

const MESSAGE: Unit = Unit { one: "message", several: "messages" };
const CONNECTION: Unit = Unit { one: "connection", several: "connections" };
const DELIVERY: Unit = Unit { one: "delivery", several: "deliveries" };

/// What a row compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// In µs of the server's user and system time.
    CpuPerUnit,
    UnitsPerCpuSecond,
    UnitsPerSecond,
    /// In ms.
    P50,
    /// In ms.
    P99,
    /// Of resident memory.
    BytesPerConnection,
}

/// What must hold of a metric.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    pub metric: Metric,
    pub limit: Limit,
}

/// A limit of a value, or of the ratio to the value of the reference in the same round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    RatioAtMost(f64),
    RatioAtLeast(f64),
    AtMost(f64),
}

impl Metric {
    pub const ALL: [Self; 6] = [
        Self::CpuPerUnit,
        Self::UnitsPerCpuSecond,
        Self::UnitsPerSecond,
        Self::P50,
        Self::P99,
        Self::BytesPerConnection,
    ];

    pub fn of(self, measured: &Measured) -> Option<f64> {
        match (self, measured) {
            (Self::BytesPerConnection, Measured::Memory { bytes_per_connection }) => Some(*bytes_per_connection),
            (Self::CpuPerUnit, Measured::Work(sample)) => Some(sample.cpu_per_unit),
            (Self::UnitsPerCpuSecond, Measured::Work(sample)) => Some(1e6 / sample.cpu_per_unit),
            (Self::UnitsPerSecond, Measured::Work(sample)) => Some(sample.units_per_second),
            (Self::P50, Measured::Work(sample)) => sample.latency.map(|latency| latency.p50),
            (Self::P99, Measured::Work(sample)) => sample.latency.map(|latency| latency.p99),
            _ => None,
        }
    }

    pub fn is_better_when_greater(self) -> bool {
        matches!(self, Self::UnitsPerCpuSecond | Self::UnitsPerSecond)
    }

    /// The heading of its column.
    pub fn heading(self, unit: Unit) -> String {
        match self {
            Self::CpuPerUnit => format!("CPU µs per {}", unit.one),
            Self::UnitsPerCpuSecond => format!("{} per CPU second", unit.several),
            Self::UnitsPerSecond => "per second".to_owned(),
            Self::P50 => "p50 ms".to_owned(),
            Self::P99 => "p99 ms".to_owned(),
            Self::BytesPerConnection => format!("bytes per {}", unit.one),
        }
    }

    pub fn format(self, value: f64) -> String {
        match self {
            Self::CpuPerUnit | Self::P50 | Self::P99 => format!("{value:.2}"),
            Self::UnitsPerCpuSecond | Self::UnitsPerSecond if value >= 1e6 => format!("{:.2} M", value / 1e6),
            Self::UnitsPerCpuSecond | Self::UnitsPerSecond => format!("{:.1} k", value / 1e3),
            Self::BytesPerConnection => format!("{value:.0}"),
        }
    }
}

impl Limit {
    /// Returns whether it holds.
    pub fn holds(self, value: f64, ratio: Option<f64>) -> bool {
        match self {
            Self::RatioAtMost(limit) => ratio.is_some_and(|ratio| ratio <= limit),
            Self::RatioAtLeast(limit) => ratio.is_some_and(|ratio| ratio >= limit),
            Self::AtMost(limit) => value <= limit,
        }
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::RatioAtMost(limit) => write!(f, "≤ {limit}×"),
            Self::RatioAtLeast(limit) => write!(f, "≥ {limit}×"),
            Self::AtMost(limit) => write!(f, "≤ {limit}"),
        }
    }
}

const ALL_ROUNDS: usize = usize::MAX;
/// Memory varies little between runs.
const ROUNDS_OF_MEMORY: usize = 3;

const fn cpu_at_most(ratio: f64) -> Budget {
    Budget { metric: Metric::CpuPerUnit, limit: Limit::RatioAtMost(ratio) }
}

const fn throughput_at_least(ratio: f64) -> Budget {
    Budget { metric: Metric::UnitsPerCpuSecond, limit: Limit::RatioAtLeast(ratio) }
}

const ANSWERING: &[Program] =
    &[RAW_TCP, FASTWEBSOCKETS, KENGINE, BATCHED, HAND_WRITTEN, SOCKUDO_WS, TUNGSTENITE, AXUM, SOCKETIOXIDE];
pub const CONNECTING: &[Program] = &[FASTWEBSOCKETS, KENGINE, BATCHED, HAND_WRITTEN, SOCKUDO_WS, TUNGSTENITE, AXUM];
const ROOMS: &[Program] = &[BATCHED, KENGINE, HAND_WRITTEN, SOCKUDO_WS, TUNGSTENITE, AXUM, SOCKETIOXIDE];

const fn answers(
    name: &'static str,
    title: &'static str,
    connections: usize,
    in_flight: usize,
    budgets: &'static [Budget],
) -> Row {
    Row {
        name,
        title,
        load: Load::Answers { connections, in_flight },
        unit: MESSAGE,
        servers: ANSWERING,
        reference: FASTWEBSOCKETS,
        budgets,
        subjects: &[KENGINE],
        max_rounds: ALL_ROUNDS,
    }
}

const fn fan_out(
    name: &'static str,
    title: &'static str,
    in_flight: usize,
    reference: Program,
    budgets: &'static [Budget],
) -> Row {
    Row {
        load: Load::FanOut { members: 1000, in_flight },
        unit: DELIVERY,
        servers: ROOMS,
        reference,
        ..answers(name, title, 0, 0, budgets)
    }
}

const fn large_future(name: &'static str, title: &'static str, in_flight: usize) -> Row {
    Row {
        servers: &[KENGINE, LARGE_FUTURE],
        reference: KENGINE,
        subjects: &[LARGE_FUTURE],
        ..answers(name, title, 64, in_flight, const { &[cpu_at_most(1.02)] })
    }
}

/// Compares clients that can resume their sessions with those that cannot.
const fn resuming(row: Row) -> Row {
    Row { servers: &[KENGINE, RESUMING], reference: KENGINE, subjects: &[RESUMING], ..row }
}

const fn idle(
    name: &'static str,
    title: &'static str,
    connections: usize,
    state: State,
    servers: &'static [Program],
    budgets: &'static [Budget],
) -> Row {
    Row {
        load: Load::Idle { connections, state },
        unit: CONNECTION,
        servers,
        reference: servers[0],
        subjects: &[KENGINE, LARGE_FUTURE],
        max_rounds: ROUNDS_OF_MEMORY,
        ..answers(name, title, 0, 0, budgets)
    }
}

const fn bytes_at_most(bytes: f64) -> Budget {
    Budget { metric: Metric::BytesPerConnection, limit: Limit::AtMost(bytes) }
}

const IDLE_ALONE: &[Budget] = &[bytes_at_most(950.0)];
const IDLE_IN_ROOM: &[Budget] = &[bytes_at_most(1050.0)];
const IDLE_ALL: &[Program] =
    &[KENGINE, LARGE_FUTURE, BATCHED, FASTWEBSOCKETS, HAND_WRITTEN, SOCKUDO_WS, TUNGSTENITE, AXUM, SOCKETIOXIDE];
const IDLE_ROOM: &[Program] = &[KENGINE, LARGE_FUTURE, BATCHED, HAND_WRITTEN, SOCKUDO_WS, TUNGSTENITE, AXUM];
const IDLE_KENGINE: &[Program] = &[KENGINE, LARGE_FUTURE];

/// All rows, in the order of the table.
pub const ROWS: &[Row] = &[
    answers("answer-64x1", "Answer: 64 connections, 1 message in flight", 64, 1, &[cpu_at_most(1.03)]),
    answers("answer-64x16", "Answer: 64 connections, 16 messages in flight", 64, 16, &[throughput_at_least(8.0)]),
    Row {
        // The reference serves some clients again and again while others wait, which keeps their memory in the caches.
        subjects: &[],
        ..answers("answer-512x1", "Answer: 512 connections, 1 message in flight", 512, 1, &[cpu_at_most(1.03)])
    },
    Row {
        load: Load::Connects { at_once: 16 },
        unit: CONNECTION,
        servers: CONNECTING,
        ..answers("connect", "Connect, one message, close", 0, 0, &[cpu_at_most(1.0)])
    },
    fan_out("fan-out-1", "Fan-out to 1,000 members, 1 send in flight", 1, BATCHED, &[cpu_at_most(1.03)]),
    fan_out("fan-out-4", "Fan-out to 1,000 members, 4 sends in flight", 4, HAND_WRITTEN, &[throughput_at_least(3.6)]),
    Row {
        servers: &[CURRENT_THREAD, IDLE_THREAD, KENGINE],
        reference: CURRENT_THREAD,
        ..answers("tail-512x1", "Tail under #[tokio::main]: 512 connections, 1 message in flight", 512, 1, TAIL)
    },
    large_future("large-future-64x1", "A route with a 16 KiB future in the block: 64 × 1", 1),
    large_future("large-future-64x16", "A route with a 16 KiB future in the block: 64 × 16", 16),
    resuming(answers("resuming-64x1", "Sessions can be resumed: 64 × 1", 64, 1, const { &[cpu_at_most(1.03)] })),
    resuming(answers("resuming-64x16", "Sessions can be resumed: 64 × 16", 64, 16, const { &[cpu_at_most(1.03)] })),
    resuming(fan_out(
        "resuming-fan-out-1",
        "Sessions can be resumed: fan-out to 1,000 members, 1 send in flight",
        1,
        KENGINE,
        const { &[cpu_at_most(1.03)] },
    )),
    idle("idle-alone-10000", "Idle: 10,000 connections, alone", 10_000, State::Alone, IDLE_ALL, IDLE_ALONE),
    idle("idle-alone-19000", "Idle: 19,000 connections, alone", 19_000, State::Alone, IDLE_KENGINE, IDLE_ALONE),
    idle("idle-room-10000", "Idle: 10,000 in a room, after a message", 10_000, State::InRoom, IDLE_ROOM, IDLE_IN_ROOM),
    idle(
        "idle-room-19000",
        "Idle: 19,000 in a room, after a message",
        19_000,
        State::InRoom,
        IDLE_KENGINE,
        IDLE_IN_ROOM,
    ),
    idle(
        "idle-large-message-10000",
        "Idle: 10,000 in a room, after a message of 64 KiB each",
        10_000,
        State::AfterLargeMessage,
        IDLE_ROOM,
        IDLE_IN_ROOM,
    ),
    idle(
        "idle-large-message-19000",
        "Idle: 19,000 in a room, after a message of 64 KiB each",
        19_000,
        State::AfterLargeMessage,
        IDLE_KENGINE,
        IDLE_IN_ROOM,
    ),
];

/// The throughput may not be lower; 3 % are noise.
const TAIL: &[Budget] = &[
    Budget { metric: Metric::P99, limit: Limit::RatioAtMost(1.2) },
    Budget { metric: Metric::UnitsPerSecond, limit: Limit::RatioAtLeast(0.97) },
];
