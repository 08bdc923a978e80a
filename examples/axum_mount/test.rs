//! Tests the program: the game and the pages on one port, and the drain.

use futures_util::{SinkExt, StreamExt};
use kengine_examples::Program;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, protocol::frame::coding::CloseCode},
};

/// Requests a page. Returns the status line and the body.
async fn get(address: &str, path: &str) -> (String, String) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    socket.read_to_string(&mut response).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").expect("a whole response");
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[tokio::test]
async fn pages_are_served_until_the_players_are_gone() {
    let program = Program::start("axum_mount").await;
    let address = program.url().strip_prefix("ws://").and_then(|url| url.strip_suffix("/ws")).unwrap().to_owned();
    let ok = |body: &str| ("HTTP/1.1 200 OK".to_owned(), body.to_owned());
    assert_eq!(get(&address, "/players").await, ok(r#"{"players":0}"#));
    assert!(get(&address, "/").await.1.contains("/ws"));
    // The game answers a request that does not ask for a WebSocket.
    assert_eq!(get(&address, "/ws").await.0, "HTTP/1.1 426 Upgrade Required");

    let (mut player, _) = connect_async(program.url()).await.unwrap();
    player.send(Message::text(r#"{"method":"chat","message":{"greeting":"hello"},"id":7}"#)).await.unwrap();
    let answer = Message::text(r#"{"id":7,"result":"hey, you said: hello"}"#);
    assert_eq!(player.next().await.unwrap().unwrap(), answer);
    assert_eq!(get(&address, "/players").await, ok(r#"{"players":1}"#));

    program.terminate();
    let Some(Ok(Message::Close(Some(close)))) = player.next().await else { panic!("no close frame") };
    assert_eq!((close.code, close.reason.as_str()), (CloseCode::Library(4000), "draining"));
    // The close frame is not answered yet, so the socket is still open, but the player has left: `#[close]` does not
    // wait for the client. Pages are served, but new players are refused.
    while get(&address, "/players").await != ok(r#"{"players":0}"#) {}
    assert!(connect_async(program.url()).await.is_err());
    // Reading on completes the close handshake.
    assert!(player.next().await.is_none_or(|last| last.is_err()));
    assert_eq!(program.ended().await.code(), Some(0));
}
