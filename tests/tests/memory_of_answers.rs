//! The memory that a process uses for answers that clients do not read. The only test in its binary, so that it has its
//! own process.
#![cfg(target_os = "linux")]

use kengine::Server;
use kengine_tests::{ClientFrame, TestServer, Workshop, resident_memory, until};

const CLIENTS: usize = 50;
const REQUESTS: usize = 20;
const LETTERS: usize = 700_000;
const MOST: usize = 8 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_answers_use_the_documented_memory() {
    let workshop = Workshop::default();
    let server = TestServer::start(Server::new(workshop.clone()).max_total_outbox_size(MOST)).await;
    let request = ClientFrame::text(format!(r#"{{"method":"letters","message":{LETTERS}}}"#));
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(workshop.connect(&server).await.0);
    }
    let before = resident_memory("self");
    for client in &mut clients {
        client.send_frames(std::iter::repeat_n(request.clone(), REQUESTS)).await;
    }
    // Each connection is counted in steps of 4 KiB.
    let connections = MOST / (LETTERS / 4096 * 4096);
    until("the end of the clients whose answers are too many", async || {
        (workshop.handled() >= CLIENTS && server.hub().connections() <= connections).then_some(())
    })
    .await;
    assert_eq!((workshop.handled(), server.hub().connections()), (CLIENTS, connections));
    let taken = resident_memory("self").saturating_sub(before);
    println!("{} KiB for {connections} clients that do not read", taken / 1024);
    // Half more is allowed for what the allocator keeps.
    assert!(taken <= MOST * 3 / 2, "{taken} bytes");
    drop(clients);
    server.emptied().await;
    assert_eq!(server.hub().queued_bytes(), 0);
    server.stop().await;
}
