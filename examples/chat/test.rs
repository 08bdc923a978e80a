//! Tests the chat in memory, and the program over sockets.

use futures_util::{SinkExt, StreamExt};
use kengine::{
    CloseCode as Code, Push,
    room::{Joined, Left},
    testing::{self, Client, Served},
};
use kengine_examples::Program;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Message, protocol::frame::coding::CloseCode},
};

use crate::lobby::Lobby;

mod lobby;

/// The push with a message of another player.
#[derive(Debug, PartialEq, Serialize, Deserialize, Push)]
#[push("chat")]
struct Heard {
    room: String,
    from: String,
    greeting: String,
}

async fn enter(chat: &Served<Lobby>, name: &str, room: &str) -> Client {
    let mut player = chat.connect(format!("/ws?uid={name}")).await.unwrap();
    player.request::<Value>("join", &json!({ "room": room })).await.unwrap();
    player
}

#[tokio::test]
async fn message_reaches_the_other_members_of_the_room() {
    let chat = testing::serve(Lobby);
    let mut ada = enter(&chat, "ada", "lobby").await;
    let mut bob = enter(&chat, "bob", "lobby").await;
    let mut cy = enter(&chat, "cy", "attic").await;
    assert_eq!(ada.push::<Joined>().await.member.uid.as_str(), "bob");

    let said = ada.request::<String>("chat", &json!({ "greeting": "hello" })).await.unwrap();
    assert_eq!(said, "hey, you said: hello");
    let heard = Heard { room: "lobby".into(), from: "ada".into(), greeting: "hello".into() };
    assert_eq!(bob.push::<Heard>().await, heard);

    // Without a room, the message goes to both rooms.
    ada.request::<Value>("join", &json!({ "room": "attic" })).await.unwrap();
    ada.request::<String>("chat", &json!({ "greeting": "up here", "room": "attic" })).await.unwrap();
    ada.request::<String>("chat", &json!({ "greeting": "everyone" })).await.unwrap();
    assert_eq!(cy.push::<Heard>().await.greeting, "up here");
    assert_eq!(cy.push::<Heard>().await.room, "attic");
    assert_eq!(bob.push::<Heard>().await.greeting, "everyone");

    let refused = bob.request::<String>("chat", &json!({ "greeting": "hey", "room": "attic" })).await;
    assert_eq!(refused.unwrap_err().code, "not_a_member");
}

#[tokio::test]
async fn players_see_rooms_and_their_members() {
    let chat = testing::serve(Lobby);
    let mut ada = enter(&chat, "ada", "lobby").await;
    let mut bob = chat.connect("/ws?uid=bob").await.unwrap();
    let both = json!([{ "uid": "ada" }, { "uid": "bob" }]);
    assert_eq!(bob.request::<Value>("join", &json!({ "room": "lobby" })).await.unwrap(), both);
    assert_eq!(ada.request::<Value>("who", &json!({ "room": "lobby" })).await.unwrap(), both);
    let rooms = json!([{ "name": "lobby", "members": 2 }]);
    assert_eq!(ada.request::<Value>("rooms", &()).await.unwrap(), rooms);

    assert!(bob.request::<bool>("leave", &json!({ "room": "lobby" })).await.unwrap());
    assert!(!bob.request::<bool>("leave", &json!({ "room": "lobby" })).await.unwrap());
    assert_eq!(ada.push::<Left>().await.member.uid.as_str(), "bob");
    drop(ada);
    drop(bob);
    chat.emptied().await;
    assert!(chat.hub().rooms("").local_list().is_empty());
}

#[tokio::test]
async fn long_lists_are_answered_in_pages() {
    let chat = testing::serve(Lobby);
    let mut players = Vec::new();
    for number in 0..150 {
        let mut player = enter(&chat, &format!("player-{number:03}"), "lobby").await;
        player.request::<Value>("join", &json!({ "room": format!("room {number:03}") })).await.unwrap();
        players.push(player);
    }
    let mut ada = chat.connect("/ws?uid=ada").await.unwrap();
    let count = |list: &Value| list.as_array().unwrap().len();
    let first = ada.request::<Value>("who", &json!({ "room": "lobby" })).await.unwrap();
    assert_eq!((count(&first), &first[99]["uid"]), (100, &json!("player-099")));
    let rest = ada.request::<Value>("who", &json!({ "room": "lobby", "after": first[99]["uid"] })).await.unwrap();
    assert_eq!((count(&rest), &rest[0]["uid"]), (50, &json!("player-100")));
    let joined = ada.request::<Value>("join", &json!({ "room": "lobby" })).await.unwrap();
    assert_eq!(count(&joined), 100);

    let first = ada.request::<Value>("rooms", &()).await.unwrap();
    assert_eq!((count(&first), &first[0]["name"], &first[99]["name"]), (100, &json!("lobby"), &json!("room 098")));
    let rest = ada.request::<Value>("rooms", &json!({ "after": first[99]["name"] })).await.unwrap();
    assert_eq!((count(&rest), &rest[0]["name"]), (51, &json!("room 099")));
    let none = ada.request::<Value>("rooms", &json!({ "after": rest[50]["name"] })).await.unwrap();
    assert_eq!(none, json!([]));
}

#[tokio::test]
async fn newer_connection_replaces_the_older_one() {
    let chat = testing::serve(Lobby);
    let mut older = enter(&chat, "ada", "lobby").await;
    let mut newer = enter(&chat, "ada", "lobby").await;
    assert_eq!(older.closed().await.unwrap().code(), Code::REPLACED);
    let alone = json!([{ "uid": "ada" }]);
    assert_eq!(newer.request::<Value>("who", &json!({ "room": "lobby" })).await.unwrap(), alone);
    // Players without a name are guests with different uids.
    let [mut one, mut other] = [chat.connect("/ws").await.unwrap(), chat.connect("/ws").await.unwrap()];
    one.heartbeat().await;
    other.heartbeat().await;
    assert_eq!((one.next_text().await.as_deref(), other.next_text().await.as_deref()), (Some("q"), Some("q")));
    assert_eq!(chat.connect("/ws?uid=").await.unwrap_err().status(), 400);
}

#[tokio::test]
async fn every_spelling_of_a_request_is_answered() {
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
        (r#"{"method":"chat","message":{"greeting":"hello"},"id":7}"#, r#"{"id":7,"result":"hey, you said: hello"}"#),
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
async fn sigterm_drains_the_program() {
    let program = Program::start("chat").await;
    let (mut player, _) = connect_async(program.url()).await.unwrap();
    player.send(Message::text("p")).await.unwrap();
    assert_eq!(player.next().await.unwrap().unwrap(), Message::text("q"));
    program.terminate();
    let Some(Ok(Message::Close(Some(close)))) = player.next().await else { panic!("no close frame") };
    assert_eq!((close.code, close.reason.as_str()), (CloseCode::Library(4000), "draining"));
    // Reading on completes the close handshake.
    assert!(player.next().await.is_none_or(|last| last.is_err()));
    assert_eq!(program.ended().await.code(), Some(0));
}
