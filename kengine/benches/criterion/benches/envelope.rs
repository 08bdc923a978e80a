//! A message is split into its route, id and payload.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kengine::testing::benchmarking::parse_envelope;
use kengine::wire::Syntax;

fn envelope(criterion: &mut Criterion) {
    let chat = |context: &str| {
        format!(r#"{{"method":"chat","message":{{"greeting":"hello to all of you","context":"{context}"}}}}"#)
    };
    let messages = [
        ("100 bytes", chat("lobby-7, near an old gate")),
        ("100 bytes with id", format!(r#"{{"id":7,{}"#, &chat("lobby-7, near the old")[1..])),
        ("payload first", r#"{"message":{"greeting":"hello to all of you"},"method":"chat"}"#.to_owned()),
        ("16 KiB", chat(&"x".repeat(16 * 1024))),
    ];
    let mut group = criterion.benchmark_group("envelope");
    for (name, message) in &messages {
        group.throughput(Throughput::Bytes(message.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), message, |bencher, message| {
            bencher.iter(|| {
                assert!(black_box(parse_envelope(black_box(message), Syntax::DEFAULT)).is_some());
            });
        });
    }
}

criterion_group!(benches, envelope);
criterion_main!(benches);
