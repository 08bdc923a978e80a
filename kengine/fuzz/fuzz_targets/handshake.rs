//! Whatever bytes a client sends to the HTTP side of the server, the answers are HTTP, and only a handshake becomes a
//! connection, which speaks RFC 6455.
//!
//! The input is the number of sizes of pieces, those sizes, and the bytes. tokio's clock is paused, so that every
//! timeout passes at once.

#![no_main]

use std::net::SocketAddr;

use kengine::{Server, testing};
use kengine_fuzz::http::{Head, responses};
use kengine_fuzz::{frames, pieces};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The statuses of `kengine/docs/wire.md` that this server can answer with, those of its pages, and those of hyper.
const STATUSES: [u16; 10] = [101, 200, 400, 403, 404, 405, 408, 414, 426, 431];

struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn echo(&self, text: String) -> String {
        text
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, rest)) = data.split_first() else { return };
    let Some((sizes, bytes)) = rest.split_at_checked(usize::from(first % 4)) else { return };
    let closes = first & 0x80 != 0;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let output = runtime.expect("a runtime").block_on(serve(&pieces::split(bytes, sizes), closes));
    check(bytes, &output);
});

/// Sends these pieces to a server, closes the stream after them if `closes` is set, and returns what the server sends.
async fn serve(pieces: &[&[u8]], closes: bool) -> Vec<u8> {
    let served =
        testing::serve(Server::new(Game).max_handshakes_per_second(u32::MAX, 1).page("/page", "text/plain", "a page"));
    // Large enough for all answers: hyper does not wait until its answer to an invalid request is taken.
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let serving = tokio::spawn(served.serve_http(theirs, SocketAddr::from(([127, 0, 0, 1], 4321))));
    let (mut reader, mut writer) = tokio::io::split(ours);
    let mut output = Vec::new();
    let write = async {
        for piece in pieces {
            // The server may have ended the connection.
            if writer.write_all(piece).await.is_err() {
                break;
            }
            // The server reads this piece before the next one comes.
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
        }
        if closes {
            let _ = writer.shutdown().await;
        }
    };
    let read = async { reader.read_to_end(&mut output).await };
    let (read, ()) = tokio::join!(read, write);
    read.expect("memory does not fail");
    serving.await.expect("no panic");
    served.emptied().await;
    assert_eq!(served.hub().connections(), 0);
    output
}

fn check(input: &[u8], output: &[u8]) {
    let may_be_head = input.windows(4).any(|word| word == b"HEAD");
    let (responses, upgraded) = responses(output, may_be_head);
    for response in &responses {
        let status = response.status;
        assert!(STATUSES.contains(&status), "status {status}");
        if response.head.only("content-type") == Some(b"application/json") && !response.body.is_empty() {
            let page: Value = serde_json::from_slice(response.body).expect("JSON");
            assert!(page["error"]["code"].is_string() && page["error"]["message"].is_string(), "{page}");
        }
        match status {
            405 => assert!(response.head.only("allow").is_some()),
            426 => assert_eq!(response.head.only("sec-websocket-version"), Some(&b"13"[..])),
            _ => {}
        }
    }
    if let Some(sent) = upgraded {
        let accept = responses.last().and_then(|response| response.head.only("sec-websocket-accept"));
        let accept = accept.expect("101 has `Sec-WebSocket-Accept`");
        let is_asked = |key: &[u8]| tungstenite::handshake::derive_accept_key(key).as_bytes() == accept;
        let is_first = responses.len() == 1;
        let asked = requests(input, is_first).any(|head| head.handshake_key().is_some_and(is_asked));
        assert!(asked, "101 without a handshake");
        frames::read_all(sent, true);
    }
    // The opposite: a handshake is accepted.
    if let Some(head) = requests(input, true).next()
        && is_certainly_accepted(&head)
    {
        assert_eq!(responses.first().map(|response| response.status), Some(101), "{head:?}");
    }
}

/// Returns the heads of requests in the input: the first one only, or one from each line on, because what belongs to
/// the body of an earlier request is not known here.
fn requests(input: &[u8], is_first: bool) -> impl Iterator<Item = Head<'_>> {
    // Empty lines before a request are ignored (RFC 9112, section 2.2).
    let mut after = input;
    while let Some(rest) = after.strip_prefix(b"\r\n").or_else(|| after.strip_prefix(b"\n")) {
        after = rest;
    }
    let begin = input.len() - after.len();
    let lines = (begin..input.len()).filter(move |&at| at == begin || !is_first && input[at - 1] == b'\n');
    lines.filter_map(|at| Head::read(&input[at..])).map(|(head, _)| head)
}

/// Returns whether a request is a handshake without anything else that the server checks.
fn is_certainly_accepted(head: &Head<'_>) -> bool {
    const PLAIN: [&str; 6] =
        ["host", "upgrade", "connection", "sec-websocket-key", "sec-websocket-version", "user-agent"];
    let is_plain = |(name, value): &(String, &[u8])| {
        PLAIN.contains(&&**name) && value.iter().all(|byte| matches!(byte, b' '..=b'~'))
    };
    let is_host = |host: &[u8]| !host.is_empty() && host.iter().all(u8::is_ascii_alphabetic);
    head.start == b"GET /ws HTTP/1.1"
        && head.fields.iter().all(is_plain)
        && head.only("host").is_some_and(is_host)
        && head.only("upgrade").is_some()
        && head.handshake_key().is_some()
}
