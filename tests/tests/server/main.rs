//! The server around its connections: pages, drain, proxies, deployment, and `kengine::testing`.

mod crowd;
mod deploy;
mod drain;
mod forwarded;
mod hosts;
mod logs;
mod mounted;
mod pages;
mod testing;
