//! The runtimes that a server runs on: one for its own tasks, and those of the connections.

use std::{io, sync::Arc, thread};

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle, RuntimeFlavor};

use crate::node_state::workers::{self, WakerInbox};
use crate::protocol::logged;

/// The workers of the process, which the connections of all servers share. They do not end with a server, so tasks that
/// handlers have spawned go on.
static WORKERS: Mutex<Option<Arc<[Handle]>>> = Mutex::new(None);

/// The runtimes of one server.
#[derive(Clone, Debug)]
pub(super) struct Runtimes {
    /// Runs the tasks of the server itself: those that accept sockets and those of the cluster. If there are several
    /// workers, it is none of them, so that a handler that blocks its thread delays only players.
    pub(super) own: Handle,
    /// Run the connections, each of which stays on its worker.
    workers: Arc<[Handle]>,
}

impl Runtimes {
    /// Uses one runtime for everything.
    pub(super) fn only(runtime: Handle) -> Self {
        Self { workers: Arc::new([runtime.clone()]), own: runtime }
    }

    /// Returns the runtimes of a server that is bound on the current one. If that has one thread, it runs everything.
    /// Otherwise each of as many threads runs connections on a runtime of its own: a runtime with several threads has a
    /// queue of 256 tasks per thread, and when more players than that are busy, some wait much longer than others.
    pub(super) fn beside_current() -> Self {
        let current = Handle::current();
        if current.runtime_flavor() == RuntimeFlavor::CurrentThread {
            return Self::only(current);
        }
        let workers = start_workers(current.metrics().num_workers());
        match &*workers {
            [] => Self::only(current),
            [only] => Self::only(only.clone()),
            _ => Self { own: current, workers },
        }
    }

    /// Returns the worker with the fewest tasks.
    pub(super) fn least_busy(&self) -> &Handle {
        match &*self.workers {
            [only] => only,
            // There is at least one.
            several => several.iter().min_by_key(|worker| worker.metrics().num_alive_tasks()).unwrap_or(&self.own),
        }
    }

    /// Moves a socket of the server's own runtime to a worker.
    ///
    /// # Errors
    ///
    /// The worker cannot wait for the socket, for example because the kernel lacks memory.
    pub(super) fn move_to(&self, worker: &Handle, socket: TcpStream) -> io::Result<TcpStream> {
        if worker.id() == self.own.id() {
            return Ok(socket);
        }
        let socket = socket.into_std()?;
        let _on_worker = worker.enter();
        TcpStream::from_std(socket)
    }
}

/// Starts this number of workers, or fewer if the system does not allow more, unless the process has workers already.
fn start_workers(count: usize) -> Arc<[Handle]> {
    let mut started = WORKERS.lock();
    if let Some(workers) = &*started {
        return Arc::clone(workers);
    }
    let mut handles = Vec::new();
    for (index, inbox) in workers::create(count).iter().enumerate() {
        match start_worker(index, inbox) {
            Ok(handle) => handles.push(handle),
            Err(error) => {
                let started = handles.len();
                tracing::warn!(error = logged(&error), started, "no further thread could be started for connections");
                break;
            }
        }
    }
    Arc::clone(started.insert(handles.into()))
}

fn start_worker(index: usize, inbox: &'static WakerInbox) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().thread_name("kengine").enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new().name("kengine".to_owned()).spawn(move || {
        workers::become_worker(index);
        runtime.block_on(inbox.empty());
    })?;
    Ok(handle)
}
