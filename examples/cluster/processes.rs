//! Child processes, and a folder for their files. Both are removed when this program ends.

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

/// How often to check whether a process has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The address of any free port on this machine.
pub(crate) const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A folder for temporary files. Dropping it removes the folder.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Result<Self> {
        let path = env::temp_dir().join(format!("kengine-cluster-{}", id()));
        fs::create_dir(&path).with_context(|| format!("cannot create `{}`", path.display()))?;
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

/// A child process in its own group, so that Ctrl-C in the terminal reaches only this program. Dropping it kills the
/// process.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program whose output is written to this file.
    pub(crate) fn start(command: &Command, log: PathBuf) -> Result<Self> {
        let output = fs::File::create(&log).with_context(|| format!("cannot write `{}`", log.display()))?;
        let child = Command::new(env::current_exe()?)
            .args(["attached", &id().to_string()])
            .arg(command.get_program())
            .args(command.get_args())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start `{}`", command.get_program().display()))?;
        Ok(Self { child, log })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // This fails if the process has ended. It cannot reach another process, because the id is not reused before
        // `wait`.
        let _ = kill_process(self.pid(), signal);
    }

    /// Returns the exit status if the process has ended.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits until the process has ended, and kills it after the limit.
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

    /// Returns the output of the process.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Describes how the process ended, with the last line of its output if it failed.
    pub(crate) fn why(&self, status: ExitStatus) -> String {
        let output = self.output();
        let last = output.lines().rfind(|line| !line.trim().is_empty());
        match last.filter(|_| status.code().is_some_and(|code| code != 0)) {
            Some(last) => format!("{}: {last}", how(status)),
            None => how(status),
        }
    }

    /// Kills the whole group, because nginx has workers.
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

/// Describes how a process ended, in a word or two.
pub(crate) fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(0), _) => "gone".to_owned(),
        (Some(code), _) => format!("exit {code}"),
        (None, Some(9)) => "killed".to_owned(),
        (None, signal) => format!("signal {}", signal.unwrap_or_default()),
    }
}

/// Replaces this process with another program, which receives SIGTERM when its parent ends. Fails if the parent, whose
/// id is `parent`, has already ended.
pub(crate) fn attached(parent: u32, command: &[OsString]) -> Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    let [program, arguments @ ..] = command else { bail!("there is no program to start") };
    if parent_id() != parent {
        bail!("the parent of `{}` has ended", program.display());
    }
    Err(Command::new(program).args(arguments).exec()).with_context(|| format!("cannot start `{}`", program.display()))
}

/// Returns the address, with a free port in place of port 0. Fails if the address is in use.
pub(crate) fn free(address: SocketAddr) -> io::Result<SocketAddr> {
    TcpListener::bind(address)?.local_addr()
}
