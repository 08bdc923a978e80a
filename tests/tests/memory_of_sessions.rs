//! The memory that a process uses for an idle player who can resume the session. The only test in its binary, so that
//! it has its own process.
#![cfg(target_os = "linux")]

use kengine_tests::{Harbor, RESUME, RawClient, TestServer, Upgrade, resident_memory};

const PLAYERS: usize = 900;
const PLAIN: &str = "kengine.v1.json";
/// The bytes that an idle player may take more than one who cannot resume.
const BUDGET: usize = 200;

async fn connect(server: &TestServer, protocol: &str, first: usize) -> Vec<RawClient> {
    let mut clients = Vec::new();
    for number in first..first + PLAYERS {
        let upgrade = Upgrade::new(server.address()).path(format!("/ws?uid=player-{number}"));
        let mut client = upgrade.with("Sec-WebSocket-Protocol", protocol).open(server.address()).await;
        if protocol == RESUME {
            client.next().await.expect("the first message");
        }
        client.heartbeat().await;
        clients.push(client);
    }
    clients
}

/// The players are compared in both orders, because memory that was freed is used again.
#[tokio::test]
async fn an_idle_player_who_can_resume_takes_little_more() {
    let server = TestServer::start(Harbor::default().server()).await;
    // What is allocated once.
    let mut clients = connect(&server, RESUME, 0).await;
    clients.extend(connect(&server, PLAIN, PLAYERS).await);
    let mut taken = Vec::new();
    let order = [PLAIN, RESUME, RESUME, PLAIN, RESUME, PLAIN, PLAIN, RESUME];
    for (round, protocol) in order.into_iter().enumerate() {
        let before = resident_memory("self");
        clients.extend(connect(&server, protocol, (2 + round) * PLAYERS).await);
        taken.push((protocol, (resident_memory("self") - before) / PLAYERS));
    }
    let total = |protocol| taken.iter().filter(|(its, _)| *its == protocol).map(|(_, taken)| taken).sum::<usize>();
    let more = total(RESUME).saturating_sub(total(PLAIN)) / 4;
    println!("{taken:?}: {more} bytes more for each of {PLAYERS}");
    assert!(more <= BUDGET, "{more} bytes more: {taken:?}");
    clients.into_iter().for_each(RawClient::reset);
    drop(server);
}
