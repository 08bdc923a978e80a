//! A message from its bytes through a typed handler to the frame of its answer, by kengine and by hand.

#[path = "../../load/servers/peers/src/game.rs"]
mod by_hand;
#[path = "../../load/servers/kengine/src/game.rs"]
mod game;

use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use criterion::{Criterion, criterion_group, criterion_main};
use kengine::testing;
use kengine::{Connection, Handshake, Hub};

use crate::by_hand::Step;

const CHAT: &str = concat!(
    r#"{"method":"chat","message":{"greeting":"hello to all of you","#,
    r#""context":"lobby-7, near an old gate"}}"#
);
const ANSWER: &[u8] = b"\x81\x24\"hey, you said: hello to all of you\"";

struct Game;

game::dispatcher!();

fn dispatch(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _runtime = runtime.enter();
    let mut group = criterion.benchmark_group("dispatch");

    let served = testing::serve(game::server(Game));
    let mut connection = served.connect_without_socket(game::Player { uid: None });
    let mut out = Vec::new();
    ready(connection.handle(CHAT, &mut out));
    assert_eq!(out, ANSWER);
    group.bench_function("kengine", |bencher| {
        bencher.iter(|| {
            out.clear();
            ready(connection.handle(black_box(CHAT), &mut out));
            black_box(&out);
        });
    });

    let mut out = Vec::new();
    handle_by_hand(CHAT, &mut out);
    assert_eq!(out, ANSWER);
    group.bench_function("by hand", |bencher| {
        bencher.iter(|| {
            out.clear();
            handle_by_hand(black_box(CHAT), &mut out);
            black_box(&out);
        });
    });
}

fn handle_by_hand(text: &str, out: &mut Vec<u8>) {
    let (Step::Answer(answer) | Step::Join(answer) | Step::Push(answer)) = by_hand::handle(text);
    out.push(0x81);
    out.push(u8::try_from(answer.len()).ok().filter(|len| *len < 126).unwrap());
    out.extend_from_slice(answer.as_bytes());
}

/// Polls a future that does not wait.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the handler waits"),
    }
}

criterion_group!(benches, dispatch);
criterion_main!(benches);
