//! The gateway reads the same user and the same room from a query as a node.

use std::{fmt::Write, net::SocketAddr, pin::Pin};

use futures_util::{Stream, StreamExt};
use kengine::{Handshake, InvalidUid, Refusal, Server, Uid, cluster::Redis};
use kengine_tests::{HttpClient, HttpResponse, RedisServer, TestGateway, Upgrade, within};
use redis::aio::MultiplexedConnection;

const MAX_ROOM: usize = 64;

/// Queries, and the user and room in each. A name that is missing, empty or too long is an empty string. The other
/// queries are answered with 400.
const QUERIES: [(&[u8], Option<[&str; 2]>); 86] = [
    // Names of parameters.
    (b"uid=ada&room=home", Some(["ada", "home"])),
    (b"room=home&uid=ada", Some(["ada", "home"])),
    (b"ROOM=other&room=home", Some(["", "home"])),
    (b"Uid=bob&room=home&UID=bob&uid=ada", Some(["ada", "home"])),
    (b"r%6Fom=home", Some(["", "home"])),
    (b"%72%6f%6F%6d=home&room=other", Some(["", "home"])),
    (b"u%69d=ada&uid=bob", Some(["ada", ""])),
    (b"R%4Fom=other", Some(["", ""])),
    (b"xroom=other&rooms=other&roo=other", Some(["", ""])),
    (b"+room=other&room+=other&room%20=other", Some(["", ""])),
    (b"room%00=other&room=home", Some(["", "home"])),
    (b"room%3D=other&room%3Dother", Some(["", ""])),
    (b"?room=other", Some(["", ""])),
    (b"token=%00%E2%80%AE&room=home", Some(["", "home"])),
    // The first of several.
    (b"room=home&room=other", Some(["", "home"])),
    (b"room=&room=other", Some(["", ""])),
    (b"room&room=other", Some(["", ""])),
    (b"uid=ada&room=home&uid=bob&room=other", Some(["ada", "home"])),
    // Separators.
    (b"", Some(["", ""])),
    (b"room", Some(["", ""])),
    (b"room=", Some(["", ""])),
    (b"&", Some(["", ""])),
    (b"&&room=home&&", Some(["", "home"])),
    (b"a&=&&=b&room=home&uid=ada", Some(["ada", "home"])),
    (b"=room=other", Some(["", ""])),
    (b"room==home", Some(["", "=home"])),
    (b"room=a=b", Some(["", "a=b"])),
    (b"room=home;uid=bob", Some(["", "home;uid=bob"])),
    (b"a=b;room=other", Some(["", ""])),
    (b"room=home?uid=bob", Some(["", "home?uid=bob"])),
    (b"room=home#&uid=bob", Some(["", "home"])),
    (b"#room=other", Some(["", ""])),
    (b"room=a%26uid=bob", Some(["", "a&uid=bob"])),
    (b"room=a%23b%3Fc%3Bd", Some(["", "a#b?c;d"])),
    // Escapes.
    (b"room=a+b", Some(["", "a b"])),
    (b"room=+", Some(["", " "])),
    (b"room=a%20b", Some(["", "a b"])),
    (b"room=a%2Bb", Some(["", "a+b"])),
    (b"room=a%2bb", Some(["", "a+b"])),
    (b"room=%", Some(["", "%"])),
    (b"room=%2", Some(["", "%2"])),
    (b"room=%zz", Some(["", "%zz"])),
    (b"room=%4g%g4", Some(["", "%4g%g4"])),
    (b"room=%%41%", Some(["", "%A%"])),
    (b"room=%2541", Some(["", "%41"])),
    (b"room=%u0041", Some(["", "%u0041"])),
    (b"room=%+1", Some(["", "% 1"])),
    (b"room=../%2e%2e/", Some(["", "../../"])),
    (b"uid={a}:*~&room=-._~!$'()*,/:@[]^`{|}\\", Some(["{a}:*~", "-._~!$'()*,/:@[]^`{|}\\"])),
    // Characters of more than one byte.
    (b"room=%C3%A4", Some(["", "\u{e4}"])),
    ("room=\u{e4}".as_bytes(), Some(["", "\u{e4}"])),
    (b"room=%C2%A0%DF%BF", Some(["", "\u{a0}\u{7ff}"])),
    (b"room=%E0%A0%80%ED%9F%BF%EE%80%80%EF%BF%BF", Some(["", "\u{800}\u{d7ff}\u{e000}\u{ffff}"])),
    (b"room=%F0%90%80%80%F3%BF%BF%BF%F4%8F%BF%BF", Some(["", "\u{10000}\u{fffff}\u{10ffff}"])),
    (b"uid=%EF%BF%BD", Some(["\u{fffd}", ""])),
    // The neighbours of characters that are refused.
    (b"room=%D8%9B%D8%9D%E2%80%8D%E2%80%90", Some(["", "\u{61b}\u{61d}\u{200d}\u{2010}"])),
    (b"room=%E2%80%A7%E2%80%AF%E2%81%A5%E2%81%AA", Some(["", "\u{2027}\u{202f}\u{2065}\u{206a}"])),
    // Control characters.
    (b"room=%00", None),
    (b"room=home%0D%0A", None),
    (b"room=%1F", None),
    (b"uid=%7F", None),
    (b"uid=a%C2%80", None),
    (b"room=%C2%9Fb", None),
    // Characters that change the direction of text.
    (b"room=%D8%9C", None),
    (b"room=%E2%80%8E", None),
    (b"uid=a%E2%80%8F", None),
    (b"room=%E2%80%A8", None),
    (b"room=%E2%80%AA", None),
    (b"uid=%E2%80%AEada", None),
    (b"room=%E2%81%A6", None),
    (b"room=%E2%81%A9", None),
    // Not UTF-8.
    (b"room=%FF", None),
    (b"ro%C3om=other&room=home", None),
    (b"token=%FF&room=home", None),
    (b"uid=ada&room=a%80b", None),
    (b"uid=%C3", None),
    (b"uid=%C3ada", None),
    (b"room=%C0%AF", None),
    (b"room=%E2%82", None),
    (b"room=%E0%9F%BF", None),
    (b"room=%ED%A0%80", None),
    (b"room=%F4%90%80%80", None),
    // Not valid in a URL.
    (b"room=\xff", None),
    (b"a=\xe4&room=home", None),
    (b"room=\"home\"", None),
    (b"a=<b>&room=home", None),
];

/// Returns further queries, whose names are as long as allowed or longer.
fn long_queries() -> Vec<(Vec<u8>, Option<[String; 2]>)> {
    let row = |name: &str, text: &str, read: Option<[String; 2]>| (format!("{name}={text}").into_bytes(), read);
    let room = |text: &str, room: &str| row("room", text, Some([String::new(), room.to_owned()]));
    let uid = |text: &str, uid: &str| row("uid", text, Some([uid.to_owned(), String::new()]));
    vec![
        room(&"a".repeat(64), &"a".repeat(64)),
        room(&"%41".repeat(64), &"A".repeat(64)),
        room(&"%C3%A4".repeat(32), &"\u{e4}".repeat(32)),
        room(&"a".repeat(65), ""),
        room(&"%C3%A4".repeat(33), ""),
        uid(&"a".repeat(128), &"a".repeat(128)),
        uid(&"%00".repeat(129), ""),
        room(&"a".repeat(8000), ""),
        room(&"%41".repeat(2600), ""),
        row("uid", &"%FF".repeat(2600), None),
    ]
}

/// Refuses every client; the message is the user and the room that it reads, each on a line.
struct Reader;

fn name(handshake: &Handshake, parameter: &str, max: usize) -> Result<String, Refusal> {
    let name = handshake.query(parameter).unwrap_or_default();
    match Uid::new(&name) {
        Ok(_) if name.len() <= max => Ok(name.into_owned()),
        Ok(_) | Err(InvalidUid::Empty | InvalidUid::TooLong(_)) => Ok(String::new()),
        Err(error) => Err(error.into()),
    }
}

#[kengine::dispatcher]
impl Reader {
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<(), Refusal> {
        let (uid, room) = (name(handshake, "uid", Uid::MAX_LEN)?, name(handshake, "room", MAX_ROOM)?);
        Err(Refusal::forbidden(format!("{uid}\n{room}")))
    }

    #[route]
    async fn never(&self) {}
}

async fn ask(address: SocketAddr, query: &[u8]) -> HttpResponse {
    let request = Upgrade::new(address).bytes();
    let rest = request.strip_prefix(b"GET /ws").expect("the start of a request");
    let request = [b"GET /ws?", query, rest].concat();
    HttpClient::connect(address).await.request(&request).await
}

/// Returns what a node has read.
fn read_by_node(response: &HttpResponse) -> Option<[String; 2]> {
    if response.status == 400 {
        return None;
    }
    assert_eq!(response.error_code(), "forbidden");
    let body: serde_json::Value = serde_json::from_str(&response.body).expect("JSON");
    let (uid, room) = body["error"]["message"].as_str()?.split_once('\n').expect("two lines");
    Some([uid.to_owned(), room.to_owned()])
}

/// Returns a name as it is written in keys.
fn encoded(name: &str) -> String {
    let mut encoded = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The commands that Redis runs.
struct Commands {
    redis: MultiplexedConnection,
    monitor: Pin<Box<dyn Stream<Item = String>>>,
}

impl Commands {
    async fn watch(server: &RedisServer) -> Self {
        let client = redis::Client::open(server.url()).expect("a URL");
        let monitor = client.get_async_monitor().await.expect("a connection");
        Self { redis: server.connection().await, monitor: Box::pin(monitor.into_on_message()) }
    }

    /// Returns the keys of the users and rooms that were looked up since the last call.
    async fn looked_up(&mut self) -> Vec<String> {
        redis::cmd("ECHO").arg("fence").exec_async(&mut self.redis).await.expect("an answer");
        let mut keys = Vec::new();
        loop {
            let command = within("a command", self.monitor.next()).await.expect("Redis runs");
            if command.contains(r#""ECHO" "fence""#) {
                return keys;
            }
            if command.contains(" lua] ") {
                // A script runs this, after the lookup.
                continue;
            }
            for start in [r#""hmget" "kengine:user:"#, r#""get" "kengine:room:"#] {
                let key = command.to_ascii_lowercase().find(start).map(|at| &command[at + start.len()..]);
                keys.extend(key.and_then(|key| key.split('"').next()).map(str::to_owned));
            }
        }
    }
}

#[tokio::test]
async fn the_gateway_reads_a_query_as_a_node_does() {
    let redis = RedisServer::start().await;
    let node = redis.serve(Server::new(Reader).cluster(Redis::new(redis.url()))).await;
    let gateway = TestGateway::start(&redis.url()).await;
    let mut commands = Commands::watch(&redis).await;
    let queries = QUERIES.map(|(query, read)| (query.to_vec(), read.map(|names| names.map(str::to_owned))));
    let mut wrong = Vec::new();
    for (query, read) in queries.into_iter().chain(long_queries()) {
        let at_node = read_by_node(&ask(node.address(), &query).await);
        let passed_on = read_by_node(&ask(gateway.address(), &query).await);
        let looked_up = commands.looked_up().await;
        // The gateway looks up nothing if there is neither a user nor a room.
        let names = read.clone().filter(|names| names.iter().any(|name| !name.is_empty()));
        let expected = names.map_or_else(Vec::new, |names| names.map(|name| encoded(&name)).into());
        if at_node != read || passed_on != read || looked_up != expected {
            let mut query = String::from_utf8_lossy(&query).into_owned();
            query.truncate(60);
            wrong
                .push(format!("  {query:?}: {at_node:?}, {passed_on:?} through the gateway, which read {looked_up:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} queries are read differently:\n{}", wrong.len(), wrong.join("\n"));
}
