//! The runtime that connections run on.

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime, RuntimeFlavor};

use crate::protocol::logged;

/// After how many tasks a worker takes one from the queue that all workers share. The queue of a worker holds 256 tasks,
/// and further ones go to the shared queue. tokio adapts this interval to the load, to about 40 tasks: at 512 busy
/// players per worker, some of them waited while others were served twenty times, and 1 % of the answers took 69 ms. With
/// 8 they take 22 ms, with 4 15 ms, with 2 9 ms; a runtime with one thread takes 8 ms.
const SHARED_QUEUE_INTERVAL: u32 = 2;
/// After how many tasks a worker looks for sockets that are ready. tokio's default is 61; with 31, the slowest 1 % of the
/// answers take a tenth less.
const EVENT_INTERVAL: u32 = 31;

/// Serves the connections of all servers of the process. It does not end with a server, so tasks that handlers have
/// spawned go on.
static RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);

/// Returns the runtime for the connections of a server that is bound on the current one: the same if it has one thread,
/// otherwise one with as many workers that is fair to many connections.
pub(super) fn for_connections() -> Handle {
    let current = Handle::current();
    if current.runtime_flavor() == RuntimeFlavor::CurrentThread {
        return current;
    }
    let mut runtime = RUNTIME.lock();
    if let Some(runtime) = &*runtime {
        return runtime.handle().clone();
    }
    let built = Builder::new_multi_thread()
        .worker_threads(current.metrics().num_workers())
        .global_queue_interval(SHARED_QUEUE_INTERVAL)
        .event_interval(EVENT_INTERVAL)
        .thread_name("kengine")
        .enable_all()
        .build();
    match built {
        Ok(built) => runtime.insert(built).handle().clone(),
        Err(error) => {
            tracing::warn!(
                error = logged(&error),
                "no thread could be started for connections, so they run beside other tasks"
            );
            current
        }
    }
}
