//! What the tests share: servers to test, clients that do not use kengine, and tables of cases.
#![allow(clippy::missing_panics_doc, reason = "a test fails by panicking, and so does what it uses")]

mod audit;
mod certificate;
mod client;
mod cutter;
mod dice;
mod folder;
mod fortress;
mod frames;
mod games;
mod gateway;
mod gateway_client;
mod hall;
mod harbor;
mod heavy;
mod http;
mod install;
mod log;
mod loop_log;
#[cfg(target_os = "linux")]
mod memory;
mod node_report;
mod proxy;
mod rally;
mod raw;
mod redis;
mod returning_client;
mod router;
mod server;
mod signal;
mod stress;
mod summary;
mod table;
mod town;
mod tram;
mod workshop;

#[cfg(target_os = "linux")]
pub use crate::memory::{open_files, resident_memory};
pub use crate::{
    audit::Audit,
    certificate::Certificate,
    client::Client,
    cutter::Cutter,
    dice::Dice,
    folder::Folder,
    fortress::{Fortress, Held},
    frames::{ClientFrame, segment},
    games::{Chat, Doorkeeper, Echo, Gate, Gatehouse, Lobby, Watched},
    gateway::{TestGateway, luacheck, nginx},
    gateway_client::GatewayClient,
    hall::Hall,
    harbor::{Harbor, Line, Place, Sailor},
    heavy::heavy_test,
    http::{HttpClient, HttpResponse, Upgrade, connect_from},
    log::Log,
    loop_log::{LoopEvent, LoopLine},
    node_report::NodeReport,
    proxy::{Network, Proxy},
    rally::{Ball, Hit, Rally, RallyLoop, Return},
    raw::{End, RawClient, ServerFrame},
    redis::{Directory, RedisServer, until},
    returning_client::{RESUME, ReturningClient},
    router::{ServedRouter, serve_router},
    server::{TestServer, refusals, without_rates},
    signal::signal,
    stress::{RoomMember, Sends, stress_time},
    summary::summary,
    table::{LIMIT, every_row, within},
    town::{NodeProcess, Said, Town, free_address},
    tram::{Call, Told, Tram},
    workshop::{Move, WANTED_PANIC, Workshop, fill_outbox},
};
