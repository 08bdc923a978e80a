//! What the tests share: a server to test, clients that are not ours, and tables of cases.
#![allow(clippy::missing_panics_doc, reason = "a test fails by panicking, and so does what it stands on")]

mod client;
mod frames;
mod games;
mod http;
mod raw;
mod redis;
mod server;
mod summary;
mod table;

pub use crate::{
    client::Client,
    frames::{ClientFrame, segment},
    games::{Chat, Gate, Lobby, Watched},
    http::{HttpClient, HttpResponse, Upgrade},
    raw::{End, RawClient, ServerFrame},
    redis::RedisServer,
    server::TestServer,
    summary::summary,
    table::{LIMIT, every_row, within},
};
