//! What hostile clients cost a node in a process of its own: its memory, and the latency of honest players.
//!
//! The tests print the figures, and fail only if an honest player is not served or the memory is far too much. They are
//! short and have few clients, unless `KENGINE_HOSTILE_SECONDS` says how long a phase takes, as in `.ci/long`.

use std::{
    net::Ipv4Addr,
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use kengine_tests::{ClientFrame, heavy_test};
use rustix::process::setpriority_process;
use tokio::{
    runtime::Runtime,
    time::{Instant, interval_at, sleep, sleep_until, timeout, timeout_at},
};

use crate::{
    every_misbehaviour,
    honest::Players,
    node::Node,
    row::{Row, Step, row},
};

const MIB: usize = 1 << 20;
/// How long the tests take, and with how many clients.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) phase: Duration,
    /// How long a misbehaving client takes, or is kept, before the next one comes.
    pub(crate) turn: Duration,
    /// How many of the clients there are, in percent.
    pub(crate) percent: usize,
}

/// Returns the scale for the normal tests, or the full one with phases of `KENGINE_HOSTILE_SECONDS`.
fn scale() -> Scale {
    match std::env::var("KENGINE_HOSTILE_SECONDS") {
        Err(_) => Scale { phase: Duration::from_millis(300), turn: Duration::from_millis(500), percent: 20 },
        Ok(seconds) => {
            let phase = Duration::from_secs(seconds.parse().expect("seconds"));
            Scale { phase, turn: Duration::from_secs(2), percent: 100 }
        }
    }
}

/// Returns one of a thousand addresses of this machine.
pub(crate) fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x7f01_0000 + u32::try_from(number % 1000).expect("a small number"))
}

/// Starts threads for hostile clients. At full scale, the node and the honest players go first, as if the hostile
/// clients had a machine of their own.
pub(crate) fn hostile_runtime(scale: Scale) -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let yields = move || {
        if scale.percent == 100 {
            // On Linux, this is the priority of the thread.
            setpriority_process(None, 10).expect("a lower priority");
        }
    };
    builder.worker_threads(2).on_thread_start(yields).enable_all().build().expect("threads")
}

/// Lets this many clients misbehave, each for at most a turn, and at most 300 at once.
async fn misbehave(scale: Scale, hostile: &Runtime, node: &Node, clients: usize) {
    let server = node.process.address();
    let rows = Arc::new(every_misbehaviour(0));
    let attacks = stream::iter(0..clients).map(move |number| {
        let rows = Arc::clone(&rows);
        tokio::spawn(async move {
            let _attacker = timeout(scale.turn, rows[number % rows.len()].attack(server, Some(address(number)))).await;
        })
    });
    let all = attacks.buffer_unordered(300).for_each(async |ended| ended.expect("a misbehaviour"));
    hostile.spawn(all).await.expect("all misbehaviours");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn misbehaviours_leave_little_memory_behind() {
    let _turn = heavy_test().await;
    let scale = scale();
    // Each misbehaviour comes at least twice, at the smaller scale too.
    let clients = if scale.percent == 100 { 10_000 } else { 400 };
    let hostile = hostile_runtime(scale);
    let mut node = Node::start(64 * 1024).await;
    let players = Players::start(node.process.address()).await;
    let at_first = node.process.resident();
    // The warm-up is the same, so that it leaves what a node keeps: buffers, counters, and the allocator's pages, whose
    // number is steady after three rounds.
    let rounds = if scale.percent == 100 { 3 } else { 1 };
    for _ in 0..rounds {
        misbehave(scale, &hostile, &node, clients).await;
        node.calms().await;
    }
    let before = node.process.resident();
    misbehave(scale, &hostile, &node, clients).await;
    node.calms().await;
    let after = node.process.resident();
    let held = node.held().await;
    println!(
        "memory: {} KiB at first, {} KiB after {rounds} x {clients} misbehaving clients, {} KiB ({:+.1} %) after {clients} \
         more; {held:?}",
        at_first / 1024,
        before / 1024,
        after / 1024,
        percent(after, before),
    );
    assert_eq!(held.queued_bytes, 0);
    assert!(after <= before + clients * 4096 + 4 * MIB, "{after} bytes after {before}");
    players.passed().await;
    hostile.shutdown_background();
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn percent(after: usize, before: usize) -> f64 {
    (after as f64 / before as f64 - 1.0) * 100.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn honest_players_have_their_latency_beside_a_thousand_misbehaving_clients() {
    /// No hostile clients; some that attack another node, which shows what the machine does; and some that attack this
    /// one.
    const KINDS: usize = 3;
    const PHASES: usize = 5 * KINDS;
    let _turn = heavy_test().await;
    let scale = scale();
    let clients = 1000 * scale.percent / 100;
    let (node, other) = (Node::start(64 * 1024).await, Node::start(64 * 1024).await);
    let players = Players::start(node.process.address()).await;
    let begun = Arc::new(AtomicUsize::new(0));
    for phase in 0..PHASES {
        let attacked = [None, Some(&other), Some(&node)][phase % KINDS];
        let hostile = attacked.map(|node| {
            let hostile = hostile_runtime(scale);
            keep_misbehaving(scale, &hostile, node, clients, &begun);
            hostile
        });
        // All clients are at work before a phase is measured.
        players.begin_phase(PHASES);
        sleep(scale.turn).await;
        players.begin_phase(phase);
        sleep(scale.phase).await;
        players.begin_phase(PHASES);
        if let Some(hostile) = hostile {
            hostile.shutdown_background();
            sleep(scale.turn / 4).await;
        }
    }
    let latencies = players.passed().await;
    println!("{clients} hostile clients began {} misbehaviours", begun.load(Ordering::Relaxed));
    for (kind, what) in ["no hostile clients", "they attack another node", "they attack this node"].iter().enumerate() {
        let (median, p99, count) = latencies.of(|phase| phase < PHASES && phase % KINDS == kind);
        println!("latency, {what}: median {median:?}, p99 {p99:?} of {count} answers");
    }
}

/// Starts clients of which each misbehaves once in each turn, and keeps its sockets until the next turn.
pub(crate) fn keep_misbehaving(scale: Scale, hostile: &Runtime, node: &Node, clients: usize, begun: &Arc<AtomicUsize>) {
    let server = node.process.address();
    let rows = Arc::new(every_misbehaviour(0));
    for client in 0..clients {
        let (rows, begun) = (Arc::clone(&rows), Arc::clone(begun));
        hostile.spawn(async move {
            let share = scale.turn * u32::try_from(client).expect("a thousand") / 1000;
            let mut turns = interval_at(Instant::now() + share, scale.turn);
            for turn in 0.. {
                let ends = turns.tick().await + scale.turn - Duration::from_millis(10);
                begun.fetch_add(1, Ordering::Relaxed);
                let row = &rows[(client + 7 * turn) % rows.len()];
                let _attacker = timeout_at(ends, row.attack(server, Some(address(client)))).await;
                sleep_until(ends).await;
            }
        });
    }
}

/// A kind of clients that take a resource and keep it.
struct Kind {
    row: Row,
    clients: usize,
    /// The largest message of the node.
    largest: usize,
    /// What the limits let one of them take, in bytes.
    each: usize,
}

fn kinds() -> [Kind; 5] {
    /// The answers that wait before the connection handles no further message.
    const ANSWERS: usize = 64 * 1024;
    /// One more answer, which takes twice its size because its buffer grows.
    const LAST_ANSWER: usize = 2 * 100 * 1024;
    /// The requests that have been read and wait.
    const REQUESTS: usize = 16 * 1024;
    /// The client's task.
    const TASK: usize = 64 * 1024;
    let open = || Step::Open("/ws".to_owned());
    let slowly = |bytes: &[u8]| Step::Drip(bytes.to_vec());
    let announced = ClientFrame::binary([b'x'; 1000]).announcing(64 << 20).bytes();
    let books = ClientFrame::text(r#"{"method":"books","message":1}"#).bytes().repeat(100);
    let unread = [open(), Step::Send(books)];
    // The socket's buffers belong to the kernel. Besides what the row names, a client costs a task and a read buffer.
    [
        Kind {
            row: row(
                "a frame of 64 MiB is announced, and refused",
                [open(), Step::Send(announced.clone()), Step::SeeAll],
                &[],
            ),
            clients: 200,
            largest: 64 * 1024,
            each: 32 * 1024,
        },
        Kind {
            row: row("a frame of 64 MiB is announced, and allowed", [open(), Step::Send(announced), Step::SeeAll], &[]),
            clients: 200,
            largest: 64 * MIB,
            each: 64 * 1024,
        },
        Kind {
            row: row("a byte of a frame at a time", [open(), slowly(&ClientFrame::text([b'x'; 10_000]).bytes())], &[]),
            clients: 1000,
            largest: 64 * 1024,
            each: 32 * 1024,
        },
        Kind {
            row: row(
                "half a handshake",
                [Step::Socket, Step::Send(b"GET /ws HTTP/1.1\r\nHost: x\r\n".to_vec()), Step::SeeAll],
                &[],
            ),
            clients: 1000,
            largest: 64 * 1024,
            each: 32 * 1024,
        },
        Kind {
            row: row("nothing is read", unread, &[]),
            clients: 1000,
            largest: 64 * 1024,
            each: ANSWERS + LAST_ANSWER + REQUESTS + TASK,
        },
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_take_stays_within_the_limits() {
    let _turn = heavy_test().await;
    let scale = scale();
    for kind in kinds() {
        let clients = kind.clients * scale.percent / 100;
        for addresses in [1, 1000] {
            let mut node = Node::start(kind.largest).await;
            let players = Players::start(node.process.address()).await;
            sleep(scale.phase).await;
            let before = node.process.resident();
            players.begin_phase(1);
            let hostile = hostile_runtime(scale);
            let server = node.process.address();
            for client in 0..clients {
                let row = kind.row.clone();
                let from = address(client % addresses);
                hostile.spawn(async move {
                    // Refused clients come again.
                    loop {
                        let attacker = row.attack(server, Some(from)).await;
                        if attacker.seen.is_empty() {
                            std::future::pending::<()>().await;
                        }
                        drop(attacker);
                        sleep(scale.turn).await;
                    }
                });
            }
            let highest = node.highest(scale.turn + scale.phase).await;
            let held = node.held().await;
            hostile.shutdown_background();
            node.calms().await;
            let after = node.process.resident();
            let latencies = players.passed().await;
            let ((calm, _, _), (median, p99, _)) = (latencies.of(|phase| phase == 0), latencies.of(|phase| phase == 1));
            println!(
                "{}, by {clients} clients of {addresses} addresses: {} KiB before, at most {} KiB, {} KiB afterwards; median \
                 {median:?} instead of {calm:?}, p99 {p99:?}; {held:?}",
                kind.row.what,
                before / 1024,
                highest / 1024,
                after / 1024,
            );
            let most = before + clients * kind.each + 32 * MIB;
            assert!(highest <= most, "{}: {highest} bytes instead of {most}", kind.row.what);
        }
    }
}
