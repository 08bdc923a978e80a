//! What changes in a session while it moves, and what runs before it goes on.

use std::{
    mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use kengine::{
    Connection, DisconnectReason, Error, Handshake, Refusal, Server, Session, StartError, Uid, cluster::Redis,
};
use kengine_tests::{ClientFrame, Gate, Harbor, Line, RedisServer, ReturningClient, ServerFrame, TestServer, until};
use redis::aio::PubSub;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::hand_over_faults::{LOBBY, subscribers_are};

/// A game in which other code changes sessions, and whose `#[close]` may wait.
#[derive(Clone, Debug, Default)]
struct Bank {
    /// Where `#[close]` waits.
    gate: Gate,
    closes_wait: Arc<AtomicBool>,
    notes: Arc<Mutex<Vec<String>>>,
    customers: Arc<Mutex<Vec<Connection<Customer>>>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Customer {
    uid: Uid,
    coins: AtomicU64,
}

impl Session for Customer {
    fn uid(&self) -> Option<Uid> {
        Some(self.uid.clone())
    }
}

impl Bank {
    async fn serve(&self, redis: &RedisServer) -> TestServer {
        let server = Server::new(self.clone()).resume_within(Duration::from_secs(3600)).hand_over();
        redis.serve(server.drain_timeout(Duration::from_secs(8)).cluster(Redis::new(redis.url()))).await
    }

    fn note(&self, note: impl Into<String>) {
        self.notes.lock().unwrap().push(note.into());
    }

    async fn noted(&self, count: usize) -> Vec<String> {
        let noted = async || (self.notes.lock().unwrap().len() >= count).then_some(());
        until(&format!("{count} notes"), noted).await;
        mem::take(&mut *self.notes.lock().unwrap())
    }

    fn customer(&self) -> Connection<Customer> {
        self.customers.lock().unwrap().last().expect("a customer").clone()
    }
}

#[kengine::dispatcher]
impl Bank {
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<Customer, Refusal> {
        Ok(Customer { uid: Uid::new(handshake.query("uid").unwrap_or_default())?, coins: AtomicU64::new(1) })
    }

    #[open]
    async fn open(&self, connection: &Connection<Customer>) {
        self.customers.lock().unwrap().push(connection.clone());
        self.note("open");
    }

    #[resume]
    async fn resume(&self) {
        self.note("resume");
    }

    #[close]
    async fn close(&self, customer: &Customer, reason: &DisconnectReason) {
        if self.closes_wait.load(Ordering::Relaxed) {
            self.note("close begins");
            self.gate.pass().await;
        }
        self.note(format!("close ({reason}) with {}", customer.coins.load(Ordering::Relaxed)));
    }

    #[route]
    async fn join(&self, hub: &kengine::Hub, connection: &Connection<Customer>, room: String) -> Result<(), Error> {
        Ok(hub.room(room).join(connection).await?)
    }

    #[route]
    async fn visit(&self) {
        self.note("visit");
    }

    #[route]
    async fn coins(&self, customer: &Customer) -> u64 {
        customer.coins.load(Ordering::Relaxed)
    }

    #[route]
    async fn ask_back(&self, connection: &Connection<Customer>) -> Result<u64, Error> {
        Ok(connection.ask::<u64>(&Line(2)).await?)
    }
}

/// A session that waits on a node that drains, and whose next node will wait a while between the offer and the ready.
struct Waiting {
    redis: RedisServer,
    banks: [Bank; 2],
    nodes: [TestServer; 2],
    ada: ReturningClient,
    _silent: PubSub,
}

impl Waiting {
    async fn start() -> Self {
        let redis = RedisServer::start().await;
        let banks = [Bank::default(), Bank::default()];
        let mut nodes = [banks[0].serve(&redis).await, banks[1].serve(&redis).await];
        let mut ada = ReturningClient::connect(nodes[0].address(), "ada").await;
        assert_eq!(ada.ask("join", "lobby", 1).await, "1: null");
        assert_eq!(banks[0].noted(1).await, ["open"]);
        nodes[0].shut_down();
        ada.expect("close 4000").await;
        ada.cut();
        ada.come_back_to(nodes[1].address());
        // It does not answer, so the new node waits for it after the session was offered, before it is ready.
        let mut silent = redis::Client::open(redis.url()).unwrap().get_async_pubsub().await.unwrap();
        silent.subscribe(LOBBY).await.unwrap();
        Self { redis, banks, nodes, ada, _silent: silent }
    }
}

#[tokio::test]
async fn a_session_that_changes_after_it_was_offered_ends_whole() {
    let Waiting { redis, banks, nodes: [old, new], mut ada, _silent } = Waiting::start().await;
    let paying = async {
        // When the new node has subscribed, the session has been offered.
        subscribers_are(&redis, 3).await;
        banks[0].customer().session().coins.fetch_add(5, Ordering::Relaxed);
    };
    let (resumed, ()) = tokio::join!(ada.come_back(), paying);
    assert!(!resumed, "the new node has got a session without what was paid");
    assert_eq!(banks[0].noted(1).await, ["close (not resumed) with 6"]);
    assert_eq!(ada.ask("coins", Value::Null, 1).await, "1: 1", "another session");
    old.ended().await;
    ada.leave().await;
    new.stop().await;
}

#[tokio::test]
async fn questions_that_are_asked_after_a_session_was_offered_move_too() {
    let Waiting { redis, banks, nodes: [old, new], mut ada, _silent } = Waiting::start().await;
    let asking = async {
        // When the new node has subscribed, the session has been offered.
        subscribers_are(&redis, 3).await;
        let customer = banks[0].customer();
        tokio::spawn(async move { customer.ask::<u64>(&Line(1)).await });
    };
    let (resumed, ()) = tokio::join!(ada.come_back(), asking);
    assert!(resumed);
    ada.expect(r#"{"id":1,"method":"line","message":1}"#).await;
    ada.request("ask_back", Value::Null, 5).await;
    ada.expect(r#"{"id":2,"method":"line","message":2}"#).await;
    // An answer to the question of the old node is not one to that of this node.
    ada.send(r#"{"id":1,"result":1}"#).await;
    ada.send(r#"{"id":2,"result":2}"#).await;
    assert_eq!(ada.answer(5).await, "5: 2");
    old.ended().await;
    ada.leave().await;
    new.stop().await;
}

#[tokio::test]
async fn a_session_that_moves_waits_for_the_close_of_an_earlier_connection_there() {
    let redis = RedisServer::start().await;
    let (old_bank, new_bank) = (Bank::default(), Bank::default());
    let (mut old, new) = (old_bank.serve(&redis).await, new_bank.serve(&redis).await);
    new_bank.closes_wait.store(true, Ordering::Relaxed);
    let mut earlier = ReturningClient::connect(new.address(), "ada").await;
    redis.directory().await.user_is("ada", Some(new.address().to_string())).await;
    let mut ada = ReturningClient::connect(old.address(), "ada").await;
    earlier.expect("close 4500").await;
    assert_eq!(new_bank.noted(2).await, ["open", "close begins"]);
    old.shut_down();
    ada.expect("close 4000").await;
    ada.cut();
    ada.come_back_to(new.address());
    assert!(ada.come_back().await);
    ada.request("visit", Value::Null, 1).await;
    for _ in 0..2 {
        // The new node has read what precedes the ping.
        ada.socket().send_frames([ClientFrame::ping("")]).await;
        let pong = ServerFrame { opcode: 10, payload: Vec::new() };
        assert_eq!(ada.socket().next().await, Ok(pong), "the request waits");
    }
    new_bank.closes_wait.store(false, Ordering::Relaxed);
    new_bank.gate.open(1);
    assert_eq!(ada.answer(1).await, "1: null");
    assert_eq!(new_bank.noted(3).await, ["close (replaced by a newer connection) with 1", "resume", "visit"]);
    assert_eq!(ada.ask("coins", Value::Null, 2).await, "2: 1");
    old.ended().await;
    ada.leave().await;
    new.stop().await;
}

#[tokio::test]
async fn sessions_that_cannot_be_resumed_cannot_be_handed_over() {
    let refused = Server::new(Bank::default()).hand_over().bind("127.0.0.1:0").await.expect_err("no `resume_within`");
    assert!(matches!(refused, StartError::Config(_)), "{refused}");
    assert!(refused.to_string().contains("call `Server::resume_within` too"), "{refused}");
    assert!(Harbor::default().server().hand_over().bind("127.0.0.1:0").await.is_ok());
}
