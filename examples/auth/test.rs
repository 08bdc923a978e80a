//! Tests authentication and permissions in memory, and the program over sockets.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use kengine::{
    CloseCode, Refusal, Server, Uid,
    testing::{self, Client, Served},
};
use kengine_examples::Program;
use serde_json::{Value, json};
use tokio_tungstenite::{
    connect_async,
    tungstenite::{self, Message, client::IntoClientRequest},
};

use crate::game::{Game, Role, token};

mod game;

const SECRET: &str = "secret of the tests";
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

fn serve() -> Served<Game> {
    testing::serve(Server::new(Game::new(SECRET)))
}

fn token_of(id: u32, role: Role) -> String {
    token(SECRET, &Uid::from(id), role, HOUR)
}

/// Creates a token with these claims, signed with this algorithm and secret.
fn signed(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
    encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

async fn with_query(game: &Served<Game>, token: &str) -> Result<Client, Refusal> {
    game.connect(format!("/ws?token={token}")).await
}

#[tokio::test]
async fn token_is_found_in_query_header_or_subprotocol() {
    let game = serve();
    let token = token_of(1001, Role::Player);
    let bearer = format!("bearer {token}");
    for connect in [
        game.connect(format!("/ws?token={token}")),
        game.connect("/ws").header("Authorization", bearer),
        game.connect("/ws").subprotocol("kengine.v1.json").subprotocol(&token),
    ] {
        let mut player = connect.await.unwrap();
        let shown = player.request::<Value>("whoami", &()).await.unwrap();
        assert_eq!(shown, json!({"id": "1001", "role": "player"}));
    }
}

#[tokio::test]
async fn invalid_token_is_refused_with_401() {
    let game = serve();
    let (past, future) = (get_current_timestamp() - 120, get_current_timestamp() + 120);
    let good = json!({"sub": "1001", "role": "player", "exp": future});
    let forged = {
        let tokens = [token_of(1, Role::Player), token_of(1, Role::Admin)];
        let [player, admin] = tokens.each_ref().map(|token| token.split('.').collect::<Vec<_>>());
        [player[0], admin[1], player[2]].join(".")
    };
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", token_of(1, Role::Admin).split('.').nth(1).unwrap());
    for (token, words) in [
        (
            signed(Algorithm::HS256, SECRET, &json!({"sub": "1001", "role": "player", "exp": past})),
            "the token has expired",
        ),
        (signed(Algorithm::HS256, "another secret", &good), "the token was not signed by us"),
        (forged, "the token was not signed by us"),
        (signed(Algorithm::HS512, SECRET, &good), "invalid token: "),
        (unsigned, "invalid token: "),
        (signed(Algorithm::HS256, SECRET, &json!({"sub": "1001", "role": "player"})), "invalid token: "),
        (signed(Algorithm::HS256, SECRET, &json!({"sub": "", "role": "player", "exp": future})), "invalid token: "),
        (signed(Algorithm::HS256, SECRET, &json!({"sub": "1", "role": "king", "exp": future})), "invalid token: "),
        ("x".to_owned(), "invalid token: "),
        (String::new(), "invalid token: "),
    ] {
        let refused = with_query(&game, &token).await.expect_err(&token);
        assert_eq!((refused.status(), refused.code()), (401, "unauthorized"), "{token}");
        assert!(refused.message().starts_with(words), "{token}: {}", refused.message());
    }
    let refused = game.connect("/ws").await.unwrap_err();
    assert_eq!(refused.status(), 401);
    assert!(refused.message().starts_with("no token; "), "{}", refused.message());
    let refused = game.connect("/ws").header("authorization", "Basic YTpi").await.unwrap_err();
    assert_eq!(refused.message(), "`Authorization` must be `Bearer`, a space and a token");
}

#[tokio::test(start_paused = true)]
async fn connection_is_closed_when_its_token_expires() {
    let game = serve();
    let mut player = with_query(&game, &token_of(1001, Role::Player)).await.unwrap();
    player.stay(HOUR).await;
    player.request::<Value>("whoami", &()).await.expect("a minute of tolerance");
    player.stay(MINUTE + Duration::from_secs(2)).await;
    let close = player.closed().await.unwrap();
    assert_eq!((close.code(), close.reason()), (CloseCode::EXPIRED, "session expired"));
}

#[tokio::test(start_paused = true)]
async fn connection_stays_with_a_new_token_of_the_same_player() {
    let game = serve();
    let mut player = with_query(&game, &token_of(1001, Role::Player)).await.unwrap();
    let past = get_current_timestamp() - 120;
    for (token, words) in [
        (token_of(1002, Role::Player), "the token is of another player or role"),
        (token_of(1001, Role::Admin), "the token is of another player or role"),
        (
            signed(Algorithm::HS256, SECRET, &json!({"sub": "1001", "role": "player", "exp": past})),
            "the token has expired",
        ),
        (
            signed(Algorithm::HS256, SECRET, &json!({"sub": "1001", "role": "player", "exp": u64::MAX})),
            "invalid token: its `exp` is too large",
        ),
        ("x".to_owned(), "invalid token: "),
    ] {
        let failure = player.request::<()>("refresh", &token).await.expect_err(words);
        assert_eq!(failure.code, "unauthorized", "{words}");
        assert!(failure.message.starts_with(words), "{words}: {}", failure.message);
    }
    let new = token(SECRET, &Uid::from(1001), Role::Player, 2 * HOUR);
    player.request::<()>("refresh", &new).await.unwrap();
    player.stay(2 * HOUR).await;
    player.request::<Value>("whoami", &()).await.unwrap();
    player.stay(MINUTE + Duration::from_secs(2)).await;
    assert_eq!(player.closed().await.unwrap().code(), CloseCode::EXPIRED);
}

#[tokio::test]
async fn only_admins_can_kick() {
    let game = serve();
    let mut player = with_query(&game, &token_of(1001, Role::Player)).await.unwrap();
    let mut admin = with_query(&game, &token_of(1, Role::Admin)).await.unwrap();
    let kick = json!({"player": "1001"});

    let failure = player.request::<bool>("admin/kick", &kick).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.message.as_str()), ("forbidden", "`admin/kick` is for admins"));
    assert!(admin.request::<bool>("admin/kick", &kick).await.unwrap());
    let close = player.closed().await.unwrap();
    assert_eq!((close.code(), close.reason()), (CloseCode::KICKED, "kicked by 1"));
    let unknown = json!({"player": "1002"});
    assert!(!admin.request::<bool>("admin/kick", &unknown).await.unwrap());
}

#[tokio::test]
async fn program_accepts_the_token_that_it_prints() {
    let program = Program::start("auth").await;
    let (url, token) = program.url().split_once("?token=").expect("a URL with a token");
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    for request in [program.url().into_client_request().unwrap(), request] {
        let (mut player, _) = connect_async(request).await.unwrap();
        player.send(Message::text(r#"{"method":"whoami","id":1}"#)).await.unwrap();
        let answer = r#"{"id":1,"result":{"id":"1001","role":"player"}}"#;
        assert_eq!(player.next().await.unwrap().unwrap(), Message::text(answer));
    }
    match connect_async(url).await {
        Err(tungstenite::Error::Http(refused)) => assert_eq!(refused.status(), 401),
        other => panic!("{other:?}"),
    }
}
