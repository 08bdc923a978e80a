//! Pushes to a room of 1,000 members, from the call to what the sockets of the members write.

#[path = "../../load/servers/kengine/src/game.rs"]
mod game;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kengine::testing;
use kengine::{Connection, Handshake, Hub};

const MEMBERS: usize = 1000;

struct Game;

game::dispatcher!();

fn fan_out(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _runtime = runtime.enter();
    let served = testing::serve(game::server(Game));
    let hub = served.hub();
    let room = hub.room(game::ROOM);
    let members: Vec<_> = (0..MEMBERS).map(|_| served.connect_without_socket(game::Player { uid: None })).collect();
    for member in &members {
        runtime.block_on(async { room.join(member.connection()).await }).unwrap();
    }
    let mut out = Vec::new();
    let mut group = criterion.benchmark_group("fan-out to 1,000 members");
    for pushes in [1, 4] {
        group.throughput(Throughput::Elements((pushes * MEMBERS) as u64));
        group.bench_with_input(BenchmarkId::new("pushes", pushes), &pushes, |bencher, &pushes| {
            bencher.iter(|| {
                for _ in 0..pushes {
                    room.send(&game::Said { text: black_box("near the old gate") }).unwrap();
                }
                for member in &members {
                    out.clear();
                    member.take_pushes(&mut out);
                    black_box(&out);
                }
            });
        });
    }
}

criterion_group!(benches, fan_out);
criterion_main!(benches);
