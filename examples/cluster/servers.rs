//! The servers that the nodes need: a private Redis, and nginx as the gateway.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use kengine::cluster::{Redis, gateway::Gateway};
use rustix::process::Signal;
use tokio::{net::TcpStream, time::sleep};

use crate::{
    processes::{ANY, Process, free},
    requirements,
};

/// How long a server may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a server may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct Servers {
    /// The address for players.
    pub(crate) gateway: SocketAddr,
    /// The URL of Redis.
    pub(crate) redis: String,
    running: Vec<(&'static str, Process)>,
}

impl Servers {
    /// Starts both servers, with their files in this folder.
    pub(crate) async fn start(listen: SocketAddr, folder: &Path) -> Result<Self> {
        let programs = requirements::find()?;
        let gateway = free(listen)
            .with_context(|| format!("cannot listen on {listen}; `--listen 127.0.0.1:0` selects a free port"))?;
        let store = free(ANY)?;
        let redis = format!("redis://{store}/");
        let conf =
            Gateway::new(Redis::new(&redis)).listen(gateway.to_string()).pages(["/"]).standalone().write(folder)?;

        // Start nginx first, because it may lack a module.
        let mut command = Command::new(programs.nginx);
        command.arg("-c").arg(conf).args(["-g", "daemon off;"]);
        let mut nginx = Process::start(&command, folder.join("nginx.txt"))?;
        wait_for("nginx", &mut nginx, gateway).await?;

        let mut command = Command::new(programs.redis);
        command.args(["--bind", "127.0.0.1", "--port", &store.port().to_string()]);
        command.args(["--save", "", "--appendonly", "no", "--loglevel", "warning", "--dir"]).arg(folder);
        let mut server = Process::start(&command, folder.join("redis.txt"))?;
        wait_for("redis-server", &mut server, store).await?;
        Ok(Self { gateway, redis, running: vec![("nginx", nginx), ("redis-server", server)] })
    }

    /// Returns the address at which the gateway can be reached.
    pub(crate) fn reachable(&self) -> SocketAddr {
        reachable(self.gateway)
    }

    /// Describes which servers have ended since the last call.
    pub(crate) fn look(&mut self) -> Result<Vec<String>> {
        let mut news = Vec::new();
        for index in (0..self.running.len()).rev() {
            let (name, server) = &mut self.running[index];
            if let Some(status) = server.ended()? {
                news.push(format!("{name} has ended ({})", server.why(status)));
                self.running.remove(index);
            }
        }
        Ok(news)
    }

    /// Ends both servers.
    pub(crate) async fn end(&mut self) -> Result<()> {
        for (_, server) in &mut self.running {
            server.signal(Signal::TERM);
            server.ended_within(END_TIMEOUT).await?;
        }
        Ok(())
    }
}

/// Waits until a server listens.
async fn wait_for(name: &str, server: &mut Process, address: SocketAddr) -> Result<()> {
    let begun = Instant::now();
    while TcpStream::connect(reachable(address)).await.is_err() {
        if let Some(status) = server.ended()? {
            let missing = requirements::missing(&server.output());
            bail!(missing.unwrap_or(format!("{name} cannot start ({})", server.why(status))));
        }
        if begun.elapsed() > START_TIMEOUT {
            bail!("{name} does not listen on {address}");
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Returns the address at which a listener can be reached.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    address
}
