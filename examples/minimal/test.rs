//! Tests the dispatcher in memory, without a network.

use kengine::testing;
use serde_json::json;

use super::Game;

#[tokio::test]
async fn greeting_is_answered() {
    let game = testing::serve(Game);
    let mut player = game.connect("/ws").await.unwrap();
    let answer: String = player.request("chat", &json!({ "greeting": "hello" })).await.unwrap();
    assert_eq!(answer, "hey, you said: hello");
    // The same as raw text, without an id.
    player.send_text(r#"{"method":"chat","message":{"greeting":"hello"}}"#).await;
    assert_eq!(player.next_text().await.as_deref(), Some(r#""hey, you said: hello""#));
}

#[tokio::test]
async fn invalid_request_is_answered_with_an_error() {
    let game = testing::serve(Game);
    let mut player = game.connect("/ws").await.unwrap();
    let failure = player.request::<String>("chat", &json!({ "greeting": 7 })).await.unwrap_err();
    assert_eq!(failure.code, "invalid_message");
    let failure = player.request::<String>("chta", &()).await.unwrap_err();
    assert_eq!(failure.to_string(), "no route is named `chta` (unknown_method)");
}
