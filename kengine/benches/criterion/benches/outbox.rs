//! Pushes are queued in the outbox of one connection, and moved from there to what its socket writes.

#[path = "../../load/servers/kengine/src/game.rs"]
mod game;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kengine::testing;
use kengine::{Connection, Handshake, Hub};

struct Game;

game::dispatcher!();

fn outbox(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _runtime = runtime.enter();
    let served = testing::serve(game::server(Game));
    let connection = served.connect_without_socket(game::Player { uid: None });
    let mut out = Vec::new();
    let mut group = criterion.benchmark_group("outbox");
    for pushes in [1_u64, 4, 64] {
        group.throughput(Throughput::Elements(pushes));
        group.bench_with_input(BenchmarkId::new("pushes", pushes), &pushes, |bencher, &pushes| {
            bencher.iter(|| {
                out.clear();
                for _ in 0..pushes {
                    connection.connection().send(&game::Said { text: black_box("near the old gate") }).unwrap();
                }
                connection.take_pushes(&mut out);
                black_box(&out);
            });
        });
    }
}

criterion_group!(benches, outbox);
criterion_main!(benches);
