//! Each misbehaviour alone, on a server of its own.

use std::time::Duration;

use kengine::Server;
use kengine_tests::{Fortress, Held, LIMIT, Said, TestServer, every_row, refusals, until};

use crate::{every_misbehaviour, row::Row};

/// Starts a server whose timeouts for clients are longer than any test, unless the row changes one.
async fn server(row: &Row) -> TestServer {
    let long = LIMIT * 2;
    let server = Server::new(Fortress).handshake_timeout(long).idle_timeout(Duration::MAX).close_timeout(long);
    let change = row.server.unwrap_or(|server| server);
    TestServer::start_with_rates(change(server)).await
}

async fn check(row: Row) {
    let server = server(&row).await;
    let attacker = row.attack(server.address(), None).await;
    assert_eq!(attacker.seen, row.sees);
    if let Some(expected) = row.holds {
        let holds = || (server.hub().connections(), server.hub().rooms("").local_list().len());
        let held = until("what it must hold", async || (holds() == expected).then_some(()));
        let held = tokio::time::timeout(LIMIT / 2, held).await;
        assert!(held.is_ok(), "{:?} connections and rooms instead of {expected:?}", holds());
    }
    for (limit, expected) in &row.exceeds {
        until(limit, async || (refusals(server.hub(), limit) >= expected.least()).then_some(())).await;
    }
    let mut refusals = Held::of(server.hub()).refusals;
    for (limit, expected) in &row.exceeds {
        let counted = refusals.remove(*limit);
        assert!(expected.is(counted), "{limit}: {counted:?} instead of {expected:?}");
    }
    assert!(refusals.is_empty(), "also exceeded: {refusals:?}");
    drop(attacker);
    holds_nothing(&server).await;
    server.stop().await;
}

/// Waits until the node holds nothing.
pub(crate) async fn holds_nothing(server: &TestServer) {
    until("an empty node", async || {
        let held = Held::of(server.hub());
        ((held.connections, held.rooms, held.queued_bytes) == (0, 0, 0)).then_some(())
    })
    .await;
    assert_eq!(server.hub().all().send(&Said("is anybody there?".to_owned())).expect("a push"), 0, "users");
}

#[tokio::test]
async fn each_misbehaviour_has_its_outcome() {
    let rows = every_misbehaviour(0);
    println!("{} misbehaviours", rows.len());
    every_row(rows.into_iter().map(|row| (row.what, row)), check).await;
}
