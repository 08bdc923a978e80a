//! The gateway reads the user and the room in a query as a node does, and refuses the queries that a node refuses.
//!
//! The input is the query. The Lua of the gateway runs in this process.

#![no_main]

use std::cell::LazyCell;
use std::net::SocketAddr;

use kengine::testing::{self, Served};
use kengine::{Handshake, InvalidUid, Refusal, Server, Uid};
use kengine_fuzz::http::responses;
use libfuzzer_sys::fuzz_target;
use mlua::{Function, Lua, Table, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

/// The parameters that the gateway reads, with the longest names that it accepts, in bytes.
const PARAMETERS: [(&str, usize); 2] = [("uid", 128), ("room", 64)];

thread_local! {
    static GATEWAY: LazyCell<Gateway> = LazyCell::new(Gateway::new);
    static NODE: LazyCell<Node> = LazyCell::new(Node::new);
}

fuzz_target!(|query: &[u8]| {
    // nginx refuses a request with such bytes, and cuts off what begins with a `#`.
    if query.iter().any(|&byte| byte <= b' ' || byte == 0x7f || byte == b'#') {
        return;
    }
    let read_by_node = NODE.with(|node| node.read(query));
    GATEWAY.with(|gateway| {
        let shown = String::from_utf8_lossy(query);
        let is_valid = gateway.is_valid(query);
        let names = PARAMETERS.map(|(parameter, max)| gateway.name(query, parameter, max));
        let Some(read_by_node) = read_by_node else {
            assert!(!is_valid || names.contains(&Name::Refused), "a node refuses {shown}");
            return;
        };
        assert!(is_valid, "a node accepts {shown}");
        for ((parameter, max), (name, at_node)) in PARAMETERS.iter().zip(names.iter().zip(&read_by_node)) {
            compare(query, parameter, *max, name, at_node.as_deref());
        }
    });
});

fn compare(query: &[u8], parameter: &str, max: usize, name: &Name, at_node: Option<&str>) {
    let shown = String::from_utf8_lossy(query);
    let raw = value(query, parameter);
    assert_eq!(raw.as_deref().map(String::from_utf8_lossy).as_deref(), at_node, "{parameter} in {shown}");
    match (name, at_node) {
        (Name::Missing, None) => {}
        (Name::Missing, Some(text)) => assert!(text.is_empty() || text.len() > max, "{parameter} in {shown}"),
        (Name::Refused, at_node) => {
            let is_utf8 = raw.is_some_and(|raw| str::from_utf8(&raw).is_ok());
            let is_hidden = at_node.is_some_and(|text| text.contains(is_hidden));
            assert!(!is_utf8 || is_hidden, "the gateway refuses {shown} because of {parameter}");
        }
        (Name::Found(name), at_node) => {
            assert_eq!(Some(&name[..]), at_node.map(str::as_bytes), "{parameter} in {shown}");
            let is_refused = at_node.is_some_and(|text| Uid::new(text) == Err(InvalidUid::ControlCharacter));
            assert!(!is_refused, "a node refuses the {parameter} in {shown}");
        }
    }
}

/// Returns whether names must not contain this character: it is a control character, or changes the direction of text.
fn is_hidden(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns the value of the first parameter with this name (WHATWG URL, section 5.1), as bytes.
fn value(query: &[u8], parameter: &str) -> Option<Vec<u8>> {
    query.split(|&byte| byte == b'&').filter(|part| !part.is_empty()).find_map(|part| {
        let (name, value) = match part.iter().position(|&byte| byte == b'=') {
            Some(at) => (&part[..at], &part[at + 1..]),
            None => (part, &b""[..]),
        };
        (decode(name) == parameter.as_bytes()).then(|| decode(value))
    })
}

fn decode(mut text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let mut decoded = Vec::new();
    while let [first, rest @ ..] = text {
        text = rest;
        decoded.push(match (first, rest) {
            (b'+', _) => b' ',
            (b'%', [high, low, rest @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    text = rest;
                    high << 4 | low
                }
                _ => b'%',
            },
            (first, _) => *first,
        });
    }
    decoded
}

/// What the gateway finds in a parameter.
#[derive(PartialEq, Eq)]
enum Name {
    Missing,
    Refused,
    Found(Vec<u8>),
}

struct Gateway {
    lua: Lua,
    is_valid: Function,
    name: Function,
}

impl Gateway {
    fn new() -> Self {
        let lua = Lua::new();
        let query: Table =
            lua.load(include_str!("../../openresty/kengine_query.lua")).eval().expect("a module of the gateway");
        let function = |name| query.get(name).expect("a function of the module");
        Self { is_valid: function("is_valid"), name: function("name"), lua }
    }

    fn is_valid(&self, query: &[u8]) -> bool {
        self.is_valid.call(self.lua.create_string(query).unwrap()).expect("no error in Lua")
    }

    fn name(&self, query: &[u8], parameter: &str, max: usize) -> Name {
        let query = self.lua.create_string(query).unwrap();
        match self.name.call((query, parameter, max)).expect("no error in Lua") {
            Value::Nil => Name::Missing,
            Value::Boolean(false) => Name::Refused,
            Value::String(name) => Name::Found(name.as_bytes().to_vec()),
            other => panic!("a name is {other:?}"),
        }
    }
}

/// Refuses every client; the message is what it reads in the query.
struct Reader;

#[kengine::dispatcher]
impl Reader {
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<(), Refusal> {
        let read = PARAMETERS.map(|(parameter, _)| handshake.query(parameter));
        Err(Refusal::new(418, "read", serde_json::to_string(&read).expect("texts are JSON")))
    }

    #[route]
    async fn never(&self) {}
}

struct Node {
    runtime: Runtime,
    served: Served<Reader>,
}

impl Node {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime");
        let served =
            runtime.block_on(async { testing::serve(Server::new(Reader).max_handshakes_per_second(u32::MAX, 1)) });
        Self { runtime, served }
    }

    /// Returns the user and the room that a node reads, or `None` if it refuses the query.
    fn read(&self, query: &[u8]) -> Option<[Option<String>; 2]> {
        let rest = b" HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let request = [b"GET /ws?", query, rest].concat();
        let output = self.runtime.block_on(async {
            let (mut ours, theirs) = tokio::io::duplex(64 * 1024);
            let serving = tokio::spawn(self.served.serve_http(theirs, SocketAddr::from(([127, 0, 0, 1], 1))));
            ours.write_all(&request).await.expect("the server reads");
            let mut output = Vec::new();
            ours.read_to_end(&mut output).await.expect("memory does not fail");
            serving.await.expect("no panic");
            output
        });
        let (responses, _) = responses(&output, false);
        let response = responses.first().expect("a response");
        if response.status == 400 {
            return None;
        }
        assert_eq!(response.status, 418);
        let page: serde_json::Value = serde_json::from_slice(response.body).expect("JSON");
        Some(serde_json::from_str(page["error"]["message"].as_str().expect("a text")).expect("names"))
    }
}
