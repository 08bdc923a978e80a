//! The real nginx as a gateway, one for each test, on a free port. Its files are in a folder that is removed with it.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use kengine::cluster::gateway::Gateway;
use rustix::process::Signal;
use tokio::{net::TcpStream, time::sleep};

use crate::{Folder, LIMIT, Town, free_address, install::install, signal, until, within};

/// A command that succeeds if nginx, its Lua module and its Redis client are installed.
const PROBE: &str = "nginx -v && ls /usr/lib/nginx/modules/ngx_http_lua_module.so /usr/share/lua/5.1/nginx/redis.lua";

/// An nginx that is stopped when this is dropped.
#[derive(Debug)]
pub struct TestGateway {
    address: SocketAddr,
    folder: Folder,
    conf: PathBuf,
    child: Child,
}

impl TestGateway {
    /// Starts a gateway for the nodes in this Redis, and waits until it listens. Its timeouts for Redis and its
    /// reservations are as long as [`LIMIT`], so that a slow machine is not mistaken for a Redis that is away.
    pub async fn start(redis: &str) -> Self {
        Self::start_from(Gateway::new(redis).idle_timeout(Town::IDLE_TIME)).await
    }

    /// Starts a gateway with these settings, except for its address. Its timeouts for Redis and its reservations are as
    /// long as [`LIMIT`].
    pub async fn start_from(gateway: Gateway) -> Self {
        Self::launch(gateway, true).await
    }

    /// Starts a gateway with these settings, except for its address. Its timeouts are those of production.
    pub async fn start_as_shipped(gateway: Gateway) -> Self {
        Self::launch(gateway, false).await
    }

    async fn launch(gateway: Gateway, is_patient: bool) -> Self {
        let address = free_address();
        let folder = Folder::new();
        let conf = gateway.listen(address.to_string()).standalone().write(&folder).expect("a folder of ours");
        if is_patient {
            for (file, name, shipped, patient) in [
                ("kengine_redis.lua", "ANSWER_TIMEOUT", "250", LIMIT.as_millis()),
                ("kengine_redis.lua", "STALL_TIMEOUT", "0.1", LIMIT.as_secs().into()),
                ("kengine_picker.lua", "PICK_TIMEOUT", "0.5", LIMIT.as_secs().into()),
                ("kengine_picker.lua", "LEARN_TIMEOUT", "2", LIMIT.as_secs().into()),
                ("kengine_reservations.lua", "LIFETIME", "5000", LIMIT.as_millis()),
            ] {
                replace(&folder.join(file), &format!("{name} = {shipped}\n"), &format!("{name} = {patient}\n"));
            }
        }
        let mut started = Self { address, folder, child: spawn(&conf), conf };
        started.listens().await;
        started
    }

    async fn listens(&mut self) {
        let listens = async {
            while TcpStream::connect(self.address).await.is_err() {
                let ended = self.child.try_wait().expect("a process of ours").is_some();
                assert!(!ended, "nginx ended: {}", self.errors());
                sleep(Duration::from_millis(5)).await;
            }
        };
        within("a gateway that listens", listens).await;
    }

    /// Stops it, and with it every tunnel.
    pub fn stop(&mut self) {
        // The id of a process that has ended may be that of another one.
        if matches!(self.child.try_wait(), Ok(None)) {
            // SIGKILL would leave the workers running.
            signal(self.child.id(), Signal::TERM);
            let _ = self.child.wait();
        }
    }

    /// Starts it again, at the same address.
    pub async fn restart(&mut self) {
        self.stop();
        self.child = spawn(&self.conf);
        self.listens().await;
    }

    /// Returns the address at which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the processes of its workers.
    pub fn workers(&self) -> Vec<u32> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        children.expect("it runs").split_whitespace().map(|pid| pid.parse().expect("a process")).collect()
    }

    /// Makes it read its files again in new workers. The old workers exit when their last tunnel ends.
    pub fn reload(&self) {
        signal(self.child.id(), Signal::HUP);
    }

    /// Kills a worker.
    pub fn kill(&self, worker: u32) {
        signal(worker, Signal::KILL);
    }

    /// Returns the access log.
    pub fn accesses(&self) -> String {
        fs::read_to_string(self.folder.join("access.log")).expect("a log")
    }

    /// Waits until this many requests have been logged, which happens when a request ends. Returns the nodes of each:
    /// `10.0.0.1:80`, or `10.0.0.1:80 : 10.0.0.2:80` if the first did not take the request.
    pub async fn sent_to(&self, requests: usize) -> Vec<String> {
        until("the end of requests", async || {
            let accesses = self.accesses();
            let nodes = accesses.lines().filter_map(|line| line.split_once("node=\"")?.1.split_once('"'));
            let nodes: Vec<_> = nodes.map(|(nodes, _)| nodes.to_owned()).collect();
            (nodes.len() >= requests).then_some(nodes)
        })
        .await
    }

    /// Returns the error log.
    pub fn errors(&self) -> String {
        fs::read_to_string(self.folder.join("error.log")).expect("a log")
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Replaces this text in a file, which must contain it.
fn replace(file: &Path, line: &str, with: &str) {
    let text = fs::read_to_string(file).expect("a file of ours");
    assert!(text.contains(line), "there is no `{line}` in {}", file.display());
    fs::write(file, text.replace(line, with)).expect("a file of ours");
}

fn spawn(conf: &Path) -> Child {
    let mut command = nginx(conf);
    command.args(["-g", "daemon off;"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("nginx starts")
}

/// Returns a command that runs nginx with this configuration; installs nginx if it is missing.
pub fn nginx(conf: &Path) -> Command {
    install("nginx", PROBE, "nginx libnginx-mod-http-lua lua-nginx-redis");
    let mut command = Command::new("nginx");
    command.arg("-c").arg(conf);
    command
}

/// Returns a command that runs the linter for Lua; installs it if it is missing.
pub fn luacheck() -> Command {
    install("luacheck", "luacheck --version", "lua-check");
    let mut command = Command::new("luacheck");
    command.arg("--no-config");
    command
}
