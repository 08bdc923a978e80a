//! All misbehaviours at once, beside honest players who keep within the default limits.

use std::time::Duration;

use kengine::Server;
use kengine_tests::{Fortress, LIMIT, TestServer, every_row, heavy_test};
use tokio::task::JoinSet;

use crate::{alone::holds_nothing, every_misbehaviour, honest::Players};

const COPIES: usize = 8;
/// How long a handler that never returns keeps its connection.
const HANDLER_TIMEOUT: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn honest_players_are_served_beside_all_misbehaviours() {
    let _turn = heavy_test().await;
    // The limits are the defaults. Only the timeouts for clients are long, so that the speed of the machine does not
    // matter.
    let server = Server::new(Fortress)
        .handler_timeout(HANDLER_TIMEOUT)
        .handshake_timeout(LIMIT * 2)
        .idle_timeout(Duration::MAX)
        .close_timeout(LIMIT * 2);
    let server = TestServer::start_with_rates(server).await;
    let players = Players::start(server.address()).await;
    let (address, mut others) = (server.address(), JoinSet::new());
    let mut checked = Vec::new();
    for row in (0..COPIES).flat_map(every_misbehaviour) {
        if row.server.is_some() {
            // What these clients see depends on limits that this server does not have.
            others.spawn(async move {
                let attacker = row.attack(address, None).await;
                std::future::pending::<()>().await;
                drop(attacker);
            });
        } else {
            checked.push((row.what, row));
        }
    }
    let others_count = others.len();
    let checked_count = checked.len();
    every_row(checked, async |row| {
        let attack = tokio::spawn(async move {
            let attacker = row.attack(address, None).await;
            assert_eq!(attacker.seen, row.sees);
        });
        attack.await.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
    })
    .await;
    players.begin_phase(1);
    let (median, p99, count) = players.passed().await.of(|phase| phase == 0);
    println!("beside {checked_count} + {others_count} clients: median {median:?}, p99 {p99:?} of {count} answers");
    others.shutdown().await;
    holds_nothing(&server).await;
    server.stop().await;
}
