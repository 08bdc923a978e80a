//! Reads the entries of the nodes from the directory in Redis.

use std::{collections::HashMap, time::Duration};

use redis::{AsyncConnectionConfig, Client, RedisResult, aio::MultiplexedConnection, pipe};

/// How long Redis may take to answer before it counts as away.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

pub(crate) struct Directory {
    client: Client,
    connection: Option<MultiplexedConnection>,
}

/// The entries of the nodes, by address.
pub(crate) type Entries = HashMap<String, Entry>;

/// The entry of a node.
pub(crate) struct Entry {
    /// Whether the node is in `NODE_HOST_LIST`.
    pub(crate) is_listed: bool,
    pub(crate) state: String,
    pub(crate) players: u64,
    /// Seats that the gateway has reserved for players who are connecting.
    pub(crate) reserved: u64,
    pub(crate) capacity: u64,
    pub(crate) messages_a_second: u64,
    pub(crate) rooms: u64,
    /// The remaining time of the lease, in milliseconds. Negative after its end.
    pub(crate) lease: i64,
}

impl Directory {
    pub(crate) fn new(url: &str) -> RedisResult<Self> {
        Ok(Self { client: Client::open(url)?, connection: None })
    }

    pub(crate) async fn read(&mut self) -> RedisResult<Entries> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let entries = read(&mut connection).await?;
        // A connection that failed is dropped, and the next call connects again.
        self.connection = Some(connection);
        Ok(entries)
    }

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT));
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }
}

async fn read(redis: &mut MultiplexedConnection) -> RedisResult<Entries> {
    let mut query = pipe();
    query.cmd("TIME").hgetall("{kengine}:lease").lrange("NODE_HOST_LIST", 0, -1);
    let answered: (_, HashMap<String, i64>, Vec<String>) = query.query_async(redis).await?;
    let ((seconds, micros), leases, listed): ((i64, i64), _, _) = answered;
    let now = seconds * 1000 + micros / 1000;

    let mut entries = Entries::new();
    // A negative lease belongs to a node that has left; only its counter still exists.
    for (address, expiry) in leases.into_iter().filter(|(_, expiry)| *expiry >= 0) {
        let mut query = pipe();
        query
            .get(&address)
            .zcard(format!("{{kengine}}:reserved:{address}"))
            .hgetall(format!("{{kengine}}:node:{address}"));
        let answered: (Option<u64>, u64, HashMap<String, String>) = query.query_async(redis).await?;
        let (players, reserved, node) = answered;
        let number = |field| node.get(field).and_then(|value: &String| value.parse().ok()).unwrap_or(0);
        let entry = Entry {
            is_listed: listed.contains(&address),
            state: node.get("state").cloned().unwrap_or_default(),
            players: players.unwrap_or(0),
            reserved,
            capacity: number("capacity"),
            messages_a_second: number("messages"),
            rooms: number("rooms"),
            lease: expiry - now,
        };
        entries.insert(address, entry);
    }
    Ok(entries)
}
