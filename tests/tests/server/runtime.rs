//! The runtime that connections run on.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use kengine::{Connection, Hub, Server};
use kengine_tests::{Client, TestServer, Upgrade};
use tokio::runtime::{Builder, Handle};

fn thread_name() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

struct Threads;

#[kengine::dispatcher]
impl Threads {
    /// Returns the names of the threads that run the handler and a task that it spawns.
    #[route]
    async fn threads(&self) -> [String; 2] {
        [thread_name(), tokio::spawn(async { thread_name() }).await.expect("the task ends")]
    }
}

/// Checks that the connections of this server run on threads with this name, also of a listener that exists already.
async fn runs_on(server: impl Fn() -> Server<Threads>, name: &str) {
    let given = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let (address, bound) = (given.local_addr(), server().bind_to(given).expect("it is a listener"));
    let serving = tokio::spawn(bound.serve_until(std::future::pending()));
    let started = TestServer::start(server()).await;
    for address in [started.address(), address.expect("it listens")] {
        let mut client = Client::connect(address).await;
        let expected = format!(r#"["{name}","{name}"]"#);
        assert_eq!(client.ask(r#"{"method":"threads"}"#).await, expected);
    }
    serving.abort();
    started.stop().await;
}

#[test]
fn a_runtime_with_one_thread_runs_the_connections() {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let test = thread::Builder::new().name("only".into());
    let tested = test.spawn(move || runtime.block_on(runs_on(|| Server::new(Threads), "only"))).expect("a thread");
    tested.join().expect("the test passes");
}

/// Some of many busy players would wait much longer than others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_a_runtime_with_several_threads_connections_run_on_another() {
    runs_on(|| Server::new(Threads), "kengine").await;
}

/// A server whose handlers tell their thread, and may block it.
struct Blocking {
    has_begun: SyncSender<()>,
    release: Mutex<Receiver<()>>,
}

#[kengine::dispatcher]
impl Blocking {
    /// Joins the room, and returns the thread that the connection runs on.
    #[route]
    async fn join(&self, connection: &Connection, hub: &Hub) -> kengine::Result<String> {
        hub.room("all").join(connection).await?;
        Ok(format!("{:?}", thread::current().id()))
    }

    #[route]
    async fn block(&self) {
        // An error means that the test has ended.
        let _ = self.has_begun.send(());
        let _ = self.release.lock().unwrap_or_else(PoisonError::into_inner).recv();
    }
}

#[derive(serde::Serialize, kengine::Push)]
struct Hello;

/// Players run on several threads. One whose handler blocks its thread delays only players of that thread, and neither
/// the health of the node nor what is sent to the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_blocks_its_thread_delays_no_player_of_another() {
    let (has_begun, begun) = sync_channel(1);
    let (released, release) = sync_channel(1);
    let server = Server::new(Blocking { has_begun, release: Mutex::new(release) }).operate("127.0.0.1:0");
    let bound = server.bind("127.0.0.1:0").await.expect("a free port");
    let (hub, address, operator) =
        (bound.hub(), bound.local_addr(), bound.operator_addr().expect("an operator's address"));
    let serving = tokio::spawn(bound.serve_until(std::future::pending()));
    // Connections stay, so the other thread has the fewest tasks some time.
    let mut players: HashMap<String, Client> = HashMap::new();
    let mut others = Vec::new();
    while players.len() < 2 {
        let mut player = Client::connect(address).await;
        let thread = player.ask(r#"{"method":"join"}"#).await;
        others.extend(players.insert(thread, player));
    }
    let mut players = players.into_values();
    let (mut blocking, mut other) = (players.next().expect("a player"), players.next().expect("another player"));

    blocking.send(r#"{"method":"block"}"#).await;
    tokio::task::block_in_place(|| begun.recv()).expect("the handler runs");
    assert_eq!(hub.room("all").send(&Hello).expect("it is encoded"), others.len() + 2);
    assert_eq!(other.next().await, r#"{"method":"hello","message":null}"#);
    let thread = other.ask(r#"{"method":"join"}"#).await;
    assert!(thread.contains("ThreadId"), "{thread}");
    let health = Upgrade::new(operator).path("/healthz").ask(operator).await;
    assert_eq!(health.status, 200);

    released.send(()).expect("the handler waits");
    assert_eq!(blocking.next().await, r#"{"method":"hello","message":null}"#);
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_runtime_may_be_named() {
    let current = Handle::current();
    let name = tokio::spawn(async { thread_name() }).await.expect("the task ends");
    assert_ne!(name, "kengine");
    runs_on(|| Server::new(Threads).runtime(current.clone()), &name).await;
}
