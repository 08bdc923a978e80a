//! The memory that a process uses for clients that do not read. The only test in its binary, so that it has its own
//! process.
#![cfg(target_os = "linux")]

use std::sync::Arc;

use kengine::{Connection, Push, Server, push::SendError};
use kengine_tests::{TestServer, Workshop, resident_memory, until, within};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::task::yield_now;

/// A push of 8,000 bytes that is already JSON, so that the test does not measure serialization.
#[derive(Serialize, Push)]
struct Move<'a>(&'a RawValue);

const CLIENTS: usize = 1000;
const OUTBOX: usize = 64 * 1024;
/// The bytes on the way to the socket that `Server::max_outbox_size` documents besides the outbox.
const BESIDE: usize = 64 * 1024;

/// Sends until one more push would not fit into the outbox, and the kernel takes no more.
async fn fill(connection: Connection, ballast: Arc<RawValue>) {
    loop {
        let queued = connection.queued();
        if queued.bytes < OUTBOX - 8100 {
            connection.send(&Move(&ballast)).expect("room in the outbox");
        } else if queued.unsent > 0 {
            break;
        }
        yield_now().await;
    }
}

/// Each connection gets its own pushes, so that no waiting push is shared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_slow_readers_use_the_documented_memory() {
    let workshop = Workshop::default();
    let server = TestServer::start(Server::new(workshop.clone()).max_outbox_pushes(1024).max_outbox_size(OUTBOX)).await;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(workshop.connect(&server).await.0);
    }
    let connections = workshop.guests();
    let ballast = format!("\"{}\"", "x".repeat(8000));
    let ballast: Arc<RawValue> = RawValue::from_string(ballast).expect("JSON").into();
    let before = resident_memory("self");

    let filling: Vec<_> =
        connections.iter().cloned().map(|connection| tokio::spawn(fill(connection, Arc::clone(&ballast)))).collect();
    for filling in filling {
        within("a full outbox", filling).await.expect("no panic");
    }
    let waiting: usize = connections.iter().map(|connection| connection.queued().bytes).sum();
    let taken = resident_memory("self") - before;
    println!(
        "{} KiB for each of {CLIENTS}, {} KiB of it in the outbox",
        taken / CLIENTS / 1024,
        waiting / CLIENTS / 1024
    );
    assert!(waiting > CLIENTS * (OUTBOX - 16_200), "{waiting} bytes wait");
    let unsent: usize = connections.iter().map(|connection| connection.queued().unsent).sum();
    let counted = server.hub().queued_bytes();
    assert!((0..=CLIENTS * 4096).contains(&(waiting + unsent - counted)), "{waiting} + {unsent}, counted {counted}");
    // A quarter more is allowed for the queues themselves and for what the allocator keeps.
    assert!(taken <= CLIENTS * (OUTBOX + BESIDE) * 5 / 4, "{} bytes for each", taken / CLIENTS);

    // After one push too many, each connection closes and frees everything that waited.
    for connection in &connections {
        while connection.send(&Move(&ballast)).is_ok() {}
        assert!(matches!(connection.send(&Move(&ballast)), Err(SendError::Closed)));
    }
    // Only the rest of a push that the kernel has begun to take is left of what waited.
    let is_freed = async || (server.hub().queued_bytes() <= CLIENTS * 8192).then_some(());
    until("memory that is freed", is_freed).await;
    for client in clients {
        client.reset();
    }
    server.emptied().await;
    assert_eq!(server.hub().queued_bytes(), 0);
    server.stop().await;
}
