//! What happens to loops while Redis is away, and after it has lost its data.

use std::time::Duration;

use kengine::{
    Connection, Error, Hub, Uid,
    cluster::Redis,
    push::SendError,
    room::{GameLoop, LoopRoom, Start},
};
use kengine_tests::{Client, Rally, RedisServer, Said, TestServer, Town, until, without_rates};
use serde_json::Value;

const LEASE: Duration = Duration::from_millis(900);

async fn serve(redis: &RedisServer) -> TestServer {
    let server = without_rates(Rally).cluster(Redis::new(redis.url()).lease(LEASE)).idle_timeout(Town::IDLE_TIME);
    redis.serve(server).await
}

/// Sends a request, and returns the answer without the pushes before it.
async fn request(client: &mut Client, method: &str, message: &str) -> String {
    client.send(format!(r#"{{"method":"{method}","message":{message},"id":7}}"#)).await;
    loop {
        let answer = client.next().await;
        if let Some(answer) = answer.strip_prefix("7: ") {
            return answer.to_owned();
        }
        assert!(answer.contains("ball"), "{answer}");
    }
}

async fn play(client: &mut Client) -> String {
    request(client, "play", r#""court""#).await
}

/// Asks the loop; returns its fencing number and its step.
async fn hit(client: &mut Client, number: u64) -> Option<(u64, u64)> {
    let answer = request(client, "hit", &format!(r#"["court",{number}]"#)).await;
    let reply: Value = serde_json::from_str(&answer).ok()?;
    Some((reply["fence"].as_u64()?, reply["step"].as_u64()?))
}

/// Waits until the loop does not tick any more.
async fn stands_still(client: &mut Client) {
    let pause = LEASE / 3;
    until("no ticks for a while", async || tokio::time::timeout(pause, client.next()).await.is_err().then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_stands_still_without_redis_and_goes_on_as_it_was() {
    let redis = RedisServer::start().await;
    let node = serve(&redis).await;
    let mut ada = Town::connect(node.address(), "ada").await;
    assert_eq!(play(&mut ada).await, "null");
    let (fence, step) = hit(&mut ada, 1).await.expect("a reply");
    redis.freeze();
    stands_still(&mut ada).await;
    let mut bob = Town::connect(node.address(), "bob").await;
    let other_room = request(&mut bob, "play", r#""other""#).await;
    assert_eq!(other_room, "error unavailable", "no loop starts without Redis");
    redis.thaw();
    let (same, later) = until("a reply", async || hit(&mut ada, 2).await).await;
    assert_eq!(same, fence, "no other node had the lease");
    assert!(later > step, "the loop goes on as it was");
    until("a second loop", async || (request(&mut bob, "play", r#""other""#).await == "null").then_some(())).await;
    assert_eq!(node.hub().game_loops(), 2);
}

/// A loop whose messages take longer than its lease.
struct Slow;

impl GameLoop for Slow {
    type Message = Uid;
    type Reply = [bool; 3];
    type Saved = ();
    const TICK: Duration = Duration::MAX;

    fn start(_: &LoopRoom<'_>, _: Start<()>) -> Self {
        Self
    }

    /// Returns which sends were refused.
    fn message(&mut self, room: &LoopRoom<'_>, player: Uid) -> [bool; 3] {
        std::thread::sleep(LEASE + LEASE / 4);
        let push = Said("late".to_owned());
        [room.send(&push), room.send_to(&player, &push), room.send_except(Uid::new("nobody").unwrap(), &push)]
            .map(|sent| matches!(sent, Err(SendError::Unavailable)))
    }
}

struct Street;

#[kengine::dispatcher]
impl Street {
    #[route]
    async fn play(&self, hub: &Hub, connection: &Connection) -> Result<(), Error> {
        hub.room("street").join(connection).await?;
        Ok(hub.room("street").run::<Slow>().await?)
    }

    #[route]
    async fn wait(&self, hub: &Hub, connection: &Connection) -> Result<[bool; 3], Error> {
        Ok(hub.room("street").ask::<Slow>(connection.uid()).await?)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_loop_sends_after_its_lease_reaches_nobody() {
    let redis = RedisServer::start().await;
    let server = without_rates(Street).cluster(Redis::new(redis.url()).lease(LEASE)).idle_timeout(Town::IDLE_TIME);
    let node = redis.serve(server).await;
    let mut ada = Client::connect_to(node.address(), "/ws").await;
    assert_eq!(request(&mut ada, "play", "null").await, "null");
    redis.freeze();
    assert_eq!(request(&mut ada, "wait", "null").await, "[true,true,true]");
    redis.thaw();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_second_loop_starts_when_redis_has_lost_its_data() {
    let mut redis = RedisServer::start().await;
    let [one, other] = [serve(&redis).await, serve(&redis).await];
    let mut ada = Town::connect(one.address(), "ada").await;
    assert_eq!(play(&mut ada).await, "null");
    let (fence, _) = hit(&mut ada, 1).await.expect("a reply");
    for round in 0..5 {
        if round % 2 == 0 {
            redis::cmd("FLUSHALL").exec_async(&mut redis.connection().await).await.expect("an answer");
        } else {
            redis.restart().await;
        }
        let mut bob = Town::connect(other.address(), format!("bob{round}")).await;
        until("a loop that is known", async || (play(&mut bob).await == "null").then_some(())).await;
        assert_eq!((one.hub().game_loops(), other.hub().game_loops()), (1, 0), "round {round}");
    }
    let (later, step) = until("a reply", async || hit(&mut ada, 2).await).await;
    assert!(later >= fence && step > 0);
}
