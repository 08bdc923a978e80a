//! The runtime that connections run on.

use std::thread;

use kengine::Server;
use kengine_tests::{Client, TestServer};
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_runtime_may_be_named() {
    let current = Handle::current();
    let name = tokio::spawn(async { thread_name() }).await.expect("the task ends");
    assert_ne!(name, "kengine");
    runs_on(|| Server::new(Threads).runtime(current.clone()), &name).await;
}
