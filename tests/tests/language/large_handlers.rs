//! A handler with a large future costs only its own messages.

#![expect(clippy::large_futures, reason = "this is what is tested")]

use std::sync::atomic::{AtomicUsize, Ordering};

use kengine::{
    Context, Dispatcher, Liveness, Server, Session,
    wire::{Answer, Message, Route, Syntax},
};
use kengine_tests::{Client, TestServer};

/// What a large handler keeps while it waits, in bytes.
const LARGE: usize = 16 * 1024;

/// A game whose handlers are small.
struct Small;

#[kengine::dispatcher]
impl Small {
    #[route]
    async fn add(&self, (a, b): (u8, u8)) -> u8 {
        a + b
    }
}

/// The same game with large handlers.
struct Large;

#[kengine::dispatcher]
impl Large {
    #[route]
    async fn add(&self, (a, b): (u8, u8)) -> u8 {
        a + b
    }

    #[route]
    async fn long(&self, byte: u8) -> usize {
        wait(byte).await
    }

    #[heartbeat]
    async fn alive(&self) -> Liveness {
        wait(1).await;
        Liveness::Alive
    }

    #[fallback]
    async fn other(&self) -> usize {
        wait(2).await
    }
}

/// Keeps a large array while it waits.
async fn wait(byte: u8) -> usize {
    let bytes = [byte; LARGE];
    tokio::task::yield_now().await;
    assert!(bytes.iter().all(|kept| *kept == byte));
    bytes.len()
}

/// A dispatcher that measures the futures of another one.
struct Measured<D> {
    measured: D,
    size: &'static AtomicUsize,
}

impl<S: Session, D: Dispatcher<Session = S>> Dispatcher for Measured<D> {
    type Session = S;

    const ROUTES: &'static [Route] = D::ROUTES;
    const SYNTAX: Syntax = D::SYNTAX;

    fn message<'a>(
        &'a self,
        context: Context<'a, S>,
        message: Message<'a>,
        answer: &'a mut Answer,
    ) -> impl Future<Output = ()> + Send {
        let future = self.measured.message(context, message, answer);
        self.size.store(size_of_val(&future), Ordering::SeqCst);
        future
    }
}

#[tokio::test]
async fn a_large_handler_does_not_make_the_future_of_other_messages_large() {
    static SMALL: AtomicUsize = AtomicUsize::new(0);
    static WITH_LARGE: AtomicUsize = AtomicUsize::new(0);
    let small = TestServer::start(Server::new(Measured { measured: Small, size: &SMALL })).await;
    let large = TestServer::start(Server::new(Measured { measured: Large, size: &WITH_LARGE })).await;
    for server in [&small, &large] {
        let mut client = Client::connect(server.address()).await;
        assert_eq!(client.ask(r#"{"method":"add","message":[1,2]}"#).await, "3");
    }
    let (small_size, large_size) = (SMALL.load(Ordering::SeqCst), WITH_LARGE.load(Ordering::SeqCst));
    assert!(large_size <= small_size + 256, "{large_size} bytes instead of {small_size}");

    let mut client = Client::connect(large.address()).await;
    assert_eq!(client.ask(r#"{"method":"long","message":7}"#).await, LARGE.to_string());
    assert_eq!(client.ask("p").await, "q");
    assert_eq!(client.ask(r#"{"method":"unknown"}"#).await, LARGE.to_string());
    drop(client);
    small.stop().await;
    large.stop().await;
}
