//! The server around its connections: limits on clients, pages, drain, proxies, deployment, and `kengine::testing`.

mod client_limits;
mod crowd;
mod deploy;
mod drain;
mod expiry;
mod forwarded;
mod hosts;
mod logs;
mod mounted;
mod pages;
mod runtime;
mod testing;
