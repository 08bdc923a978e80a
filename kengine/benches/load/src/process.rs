//! A server: a process on a core of its own, whose CPU time and memory are read from `/proc`.

use std::fs;
use std::io::{self, BufRead, BufReader, Error};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

const SERVER_CORE: usize = 0;
const GENERATOR_CORE: usize = 1;

/// A running server. It is killed when it is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// 0 if the server was started without asking it for its port.
    pub port: u16,
}

impl Server {
    /// Starts a server, which prints its port first.
    pub fn start_command(command: &mut Command) -> io::Result<Self> {
        Self::start_on(&[SERVER_CORE], command)
    }

    /// Starts a server that shares its second core with the clients.
    pub fn start_on_all_cores(command: &mut Command) -> io::Result<Self> {
        Self::start_on(&[SERVER_CORE, GENERATOR_CORE], command)
    }

    fn start_on(cores: &[usize], command: &mut Command) -> io::Result<Self> {
        let mut server = Self::spawn(cores, command.stdout(Stdio::piped()))?;
        let mut line = String::new();
        if let Some(stdout) = server.child.stdout.as_mut() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        server.port =
            line.trim().parse().map_err(|_| Error::other(format!("{command:?} printed no port: {line:?}")))?;
        Ok(server)
    }

    /// Starts a server that prints no port.
    pub fn start_silent(command: &mut Command) -> io::Result<Self> {
        Self::spawn(&[SERVER_CORE], command)
    }

    fn spawn(cores: &[usize], command: &mut Command) -> io::Result<Self> {
        // A child inherits the cores of the thread that starts it.
        pin(cores)?;
        let child = command.spawn();
        pin_generator()?;
        let child = child.map_err(|error| Error::other(format!("{command:?}: {error}")))?;
        Ok(Self { child, port: 0 })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the process of the server that strace, which was started as the command, traces.
    pub fn traced_pid(&self) -> io::Result<u32> {
        let pid = self.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        children.trim().parse().map_err(|_| Error::other(format!("one child is expected, and not {children:?}")))
    }

    /// Returns the CPU time that the server has used, in user and kernel mode together.
    pub fn cpu(&self) -> io::Result<Duration> {
        cpu_of(&self.pid().to_string())
    }

    /// Returns the memory that is resident, in bytes. `smaps_rollup` counts pages, while the counters in `status` may
    /// be some 100 KiB behind.
    pub fn resident(&self) -> io::Result<u64> {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid()))?;
        let kib = rollup.lines().find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB")?.parse().ok());
        kib.map(|kib: u64| kib * 1024).ok_or_else(|| Error::other("`smaps_rollup` has no line `Rss`"))
    }

    /// Whether the server stands still, as after `SIGSTOP`.
    pub fn is_stopped(&self) -> io::Result<bool> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        // The state stands behind the name of the program, which may contain parentheses.
        Ok(stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T')))
    }

    /// Waits until a server ends that was told to.
    pub fn ended(mut self) -> io::Result<()> {
        self.child.wait().map(drop)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the CPU time that some servers have used together.
pub fn cpu_of_all(servers: &[Server]) -> io::Result<Duration> {
    servers.iter().map(Server::cpu).sum()
}

/// Returns the CPU time that this process has used.
pub fn own_cpu() -> io::Result<Duration> {
    cpu_of("self")
}

/// Returns the CPU time of the processes that this process has started and awaited, and of those that they have, in
/// user and kernel mode together (`proc_pid_stat(5)`).
pub fn cpu_of_children() -> io::Result<Duration> {
    /// `cutime`, counted from the state of the process, which stands behind its name.
    const OF_CHILDREN: usize = 13;
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields.split(' ')).into_iter().flatten();
    let ticks: u64 = fields.skip(OF_CHILDREN).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
}

/// Sums the times that the threads of a process ran (the first number of `schedstat`, in nanoseconds).
fn cpu_of(process: &str) -> io::Result<Duration> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        // A thread may end meanwhile.
        let Ok(schedstat) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        let time = schedstat.split(' ').next().and_then(|time| time.parse::<u64>().ok());
        nanoseconds += time.ok_or_else(|| Error::other("the kernel has no `schedstat`"))?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Sends a signal to a process.
pub fn signal(process: u32, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw);
    Ok(kill_process(pid.ok_or_else(|| Error::other("there is no such process id"))?, signal)?)
}

/// Moves this thread, and the processes that it will start, to the core of the generator.
pub fn pin_generator() -> io::Result<()> {
    pin(&[GENERATOR_CORE])
}

/// Moves this thread to some cores.
fn pin(cores: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    sched_setaffinity(None, &set)
        .map_err(|error| Error::other(format!("the cores {cores:?} are needed, but cannot be used: {error}")))
}

/// Raises the limit of open files as far as it can be. Servers inherit it.
pub fn raise_open_files() -> io::Result<u64> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(maximum.unwrap_or(u64::MAX))
}
