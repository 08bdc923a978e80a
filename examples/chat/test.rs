//! The chat as its players see it: the program itself, run, talked to, and told to end.

use futures_util::{SinkExt, StreamExt};
use kengine_examples::Program;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, protocol::frame::coding::CloseCode},
};

#[tokio::test]
async fn players_are_answered_however_they_write() {
    let program = Program::start("chat").await;
    let (mut player, _) = connect_async(program.url()).await.unwrap();
    let plain = r#""hey, you said: hello""#;
    let rows = [
        (r#"{"method":"chat","message":{"greeting":"hello","context":"x"}}"#, plain),
        (r#"{"method":"chat","message":{"greetting":"hello"}}"#, plain),
        (r#"{"method":"chat","message":{"greeting":"hello","context":{"any":["thing"]}}}"#, plain),
        (r#"{"message":{"context":"x","greeting":"hello"},"method":"chat"}"#, plain),
        (r#"{"\u006dethod":"chat","message":{"greeting":"hello"}}"#, plain),
        (" { \"method\" : \"chat\" ,\n\"message\" : { \"greeting\" : \"hello\" } } ", plain),
        (r#"{"extra":[1],"method":"chat","message":{"greeting":"hello","other":0},"more":{}}"#, plain),
        (
            r#"{"method":"chat","message":{"greeting":"hello"},"id":7}"#,
            r#"{"id":7,"result":"hey, you said: hello"}"#,
        ),
        ("p", "q"),
    ];
    for (sent, expected) in rows {
        for message in [Message::text(sent), Message::binary(sent.as_bytes().to_vec())] {
            player.send(message).await.unwrap();
            let answer = player.next().await.unwrap().unwrap();
            assert_eq!(answer, Message::text(expected), "{sent}");
        }
    }
}

#[tokio::test]
async fn sigterm_sends_players_away_and_ends_well() {
    let program = Program::start("chat").await;
    let (mut player, _) = connect_async(program.url()).await.unwrap();
    player.send(Message::text("p")).await.unwrap();
    assert_eq!(player.next().await.unwrap().unwrap(), Message::text("q"));
    program.terminate();
    let Some(Ok(Message::Close(Some(close)))) = player.next().await else { panic!("no close frame") };
    assert_eq!((close.code, close.reason.as_str()), (CloseCode::Library(4000), "draining"));
    // The close handshake is completed by reading on.
    assert!(player.next().await.is_none_or(|last| last.is_err()));
    assert_eq!(program.ended().await.code(), Some(0));
}
