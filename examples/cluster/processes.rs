//! Processes of ours: none of them outlives us, nor does the folder they write to.

use std::{
    env,
    ffi::OsString,
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::unix::process::{CommandExt, ExitStatusExt, parent_id},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio, id},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::time::sleep;

/// How often a process is looked at whose end is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Any free port of this machine.
pub(crate) const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A folder for temporary files, which is removed when this is dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Result<Self> {
        let path = env::temp_dir().join(format!("kengine-cluster-{}", id()));
        fs::create_dir(&path).with_context(|| format!("cannot make `{}`", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process in a group of its own, so that a Ctrl-C of the terminal reaches only us. It is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program; what it prints is written to this file.
    pub(crate) fn start(command: &Command, log: PathBuf) -> Result<Self> {
        let printed = fs::File::create(&log).with_context(|| format!("cannot write `{}`", log.display()))?;
        let child = Command::new(env::current_exe()?)
            .args(["attached", &id().to_string()])
            .arg(command.get_program())
            .args(command.get_args())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(printed.try_clone()?)
            .stderr(printed)
            .spawn()
            .with_context(|| format!("cannot start `{}`", command.get_program().display()))?;
        Ok(Self { child, log })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // One that has ended needs no signal; until we have waited for it, its id is nobody else's.
        let _ = kill_process(self.pid(), signal);
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits until it has ended; past the limit it is killed.
    pub(crate) async fn ended_within(&mut self, limit: Duration) -> Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if begun.elapsed() > limit {
                self.kill();
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// All that it has printed.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// In words, how it ended: by its last line, too, unless it was told to end.
    pub(crate) fn why(&self, status: ExitStatus) -> String {
        let said = self.said();
        let last = said.lines().rfind(|line| !line.trim().is_empty());
        match last.filter(|_| status.code().is_some_and(|code| code != 0)) {
            Some(last) => format!("{}: {last}", how(status)),
            None => how(status),
        }
    }

    /// All of its group: nginx has workers.
    fn kill(&self) {
        let _ = kill_process_group(self.pid(), Signal::KILL);
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
            let _ = self.child.wait();
        }
    }
}

/// How a process ended, in a word or two.
pub(crate) fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(0), _) => "gone".to_owned(),
        (Some(code), _) => format!("exit {code}"),
        (None, Some(9)) => "killed".to_owned(),
        (None, signal) => format!("signal {}", signal.unwrap_or_default()),
    }
}

/// Becomes this program, and is told to end when its parent is gone, however that went. The parent is the process of
/// this id, unless it is gone already.
pub(crate) fn attached(parent: u32, command: &[OsString]) -> Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    let [program, arguments @ ..] = command else { bail!("there is no program to start") };
    if parent_id() != parent {
        bail!("nobody needs `{}` any more", program.display());
    }
    Err(Command::new(program).args(arguments).exec())
        .with_context(|| format!("cannot start `{}`", program.display()))
}

/// An address where nothing listens: this one, with a free port where it has none.
pub(crate) fn free(address: SocketAddr) -> io::Result<SocketAddr> {
    TcpListener::bind(address)?.local_addr()
}
