//! A cluster in Redis: what the directory says of nodes, whatever becomes of them.

use std::time::Duration;

use kengine::{Connection, Error, Handshake, Hub, Push, Redis, Refusal, Server, Uid};
use kengine_tests::{Client, RedisServer, TestServer, within};
use redis::{AsyncCommands, aio::MultiplexedConnection};
use serde::Serialize;
use tokio::time::sleep;

#[derive(Serialize, Push)]
struct Said(String);

struct Game;

#[kengine::dispatcher]
impl Game {
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<Uid, Refusal> {
        Ok(Uid::new(handshake.query("uid").unwrap_or("guest".into()))?)
    }

    #[route]
    async fn join(&self, hub: &Hub, connection: &Connection<Uid>, room: String) -> Result<(), Error> {
        Ok(hub.room(room).join(connection).await?)
    }

    #[route]
    async fn say(&self, hub: &Hub, connection: &Connection<Uid>, text: String) -> Result<(), Error> {
        hub.room("lobby").except(connection).send(&Said(text))?;
        Ok(())
    }

    #[route]
    async fn tell(&self, hub: &Hub, (uid, text): (String, String)) -> Result<(), Error> {
        hub.user(uid).send(&Said(text))?;
        Ok(())
    }
}

fn game(redis: &RedisServer) -> Server<Game> {
    Server::new(Game).redis(Redis::new(redis.url()).lease(Duration::from_millis(1500)))
}

/// Waits until something can be seen in Redis.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let seen = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    within(what, seen).await
}

async fn listed(redis: &mut MultiplexedConnection) -> Vec<String> {
    redis.lrange("NODE_HOST_LIST", 0, -1).await.unwrap()
}

async fn counted(redis: &mut MultiplexedConnection, address: &str) -> Option<usize> {
    redis.get(address).await.unwrap()
}

async fn count_is(redis: &mut MultiplexedConnection, address: &str, count: Option<usize>) {
    until("a count", async || (counted(redis, address).await == count).then_some(())).await;
}

#[tokio::test]
async fn a_node_is_listed_with_its_count_until_it_goes() {
    let redis = RedisServer::start().await;
    let mut view = redis.connection().await;
    let mut server = TestServer::start(game(&redis)).await;
    let address = server.address().to_string();
    until("a node", async || (listed(&mut view).await == [&*address]).then_some(())).await;
    count_is(&mut view, &address, Some(0)).await;

    let mut players = Vec::new();
    for number in 0..20 {
        players.push(Client::connect_to(server.address(), &format!("/ws?uid={number}")).await);
    }
    count_is(&mut view, &address, Some(20)).await;
    assert_eq!(view.zscore::<_, _, usize>("{kengine}:load", &address).await.unwrap(), 20);
    players.truncate(10);
    count_is(&mut view, &address, Some(10)).await;
    assert_eq!(view.hget::<_, _, String>("kengine:user:3", "address").await.unwrap(), address);
    until("a release", async || (!view.exists::<_, bool>("kengine:user:13").await.unwrap()).then_some(()))
        .await;

    drop(players);
    server.shut_down();
    server.ended().await;
    assert_eq!(listed(&mut view).await, [""; 0]);
    assert_eq!(view.keys::<_, Vec<String>>("*").await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_node_that_is_forgotten_joins_again() {
    let mut redis = RedisServer::start().await;
    let server = TestServer::start(game(&redis)).await;
    let address = server.address().to_string();
    let mut ada = Client::connect_to(server.address(), "/ws?uid=ada").await;
    let mut view = redis.connection().await;
    count_is(&mut view, &address, Some(1)).await;

    redis::cmd("FLUSHALL").exec_async(&mut view).await.unwrap();
    count_is(&mut view, &address, Some(1)).await;
    until("a claim", async || view.exists::<_, bool>("kengine:user:ada").await.unwrap().then_some(())).await;

    redis.kill();
    assert_eq!(
        ada.ask(r#"{"method":"tell","message":["ada","still here"]}"#).await,
        r#"{"method":"said","message":"still here"}"#
    );
    redis.restart().await;
    let mut view = redis.connection().await;
    count_is(&mut view, &address, Some(1)).await;
    assert_eq!(listed(&mut view).await, [&*address]);
    until("a claim", async || view.exists::<_, bool>("kengine:user:ada").await.unwrap().then_some(())).await;
    server.stop().await;
}

#[tokio::test]
async fn rooms_and_users_span_nodes() {
    let redis = RedisServer::start().await;
    let mut view = redis.connection().await;
    let servers = [TestServer::start(game(&redis)).await, TestServer::start(game(&redis)).await];
    for server in &servers {
        count_is(&mut view, &server.address().to_string(), Some(0)).await;
    }
    let mut ada = Client::connect_to(servers[0].address(), "/ws?uid=ada").await;
    let mut bob = Client::connect_to(servers[1].address(), "/ws?uid=bob").await;
    for player in [&mut ada, &mut bob] {
        assert_eq!(player.ask(r#"{"method":"join","message":"lobby","id":1}"#).await, "1: null");
    }
    for number in 0..100 {
        ada.send(format!(r#"{{"method":"say","message":"{number}"}}"#)).await;
    }
    for number in 0..100 {
        assert_eq!(bob.next().await, format!(r#"{{"method":"said","message":"{number}"}}"#));
    }
    until("a claim", async || view.exists::<_, bool>("kengine:user:ada").await.unwrap().then_some(())).await;
    bob.send(r#"{"method":"tell","message":["ada","psst"]}"#).await;
    assert_eq!(ada.next().await, r#"{"method":"said","message":"psst"}"#);

    let mut newer = Client::connect_to(servers[1].address(), "/ws?uid=ada").await;
    assert_eq!(ada.next().await, "close 4500");
    assert_eq!(
        newer.ask(r#"{"method":"tell","message":["ada","it is you"]}"#).await,
        r#"{"method":"said","message":"it is you"}"#
    );
    drop((ada, bob, newer));
    for server in servers {
        server.stop().await;
    }
}
