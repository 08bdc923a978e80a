//! Tokens, who they let in, and what for.

use std::time::Duration;

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode, errors::ErrorKind,
    get_current_timestamp,
};
use kengine::{Call, Close, CloseCode, Error, Handshake, Hub, Refusal, Session, Uid};
use serde::{Deserialize, Serialize};

/// What a player may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Player,
    Admin,
}

/// What a token says (RFC 7519), signed by whoever logs players in.
#[derive(Serialize, Deserialize)]
struct Claims {
    sub: Uid,
    role: Role,
    /// In seconds since 1970.
    exp: u64,
}

/// Makes a token that is good from now on for so long; a game's is made by whoever logs its players in.
pub(crate) fn token(secret: &str, id: &Uid, role: Role, valid: Duration) -> String {
    let claims = Claims { sub: id.clone(), role, exp: get_current_timestamp() + valid.as_secs() };
    let key = EncodingKey::from_secret(secret.as_bytes());
    encode(&Header::new(Algorithm::HS256), &claims, &key).expect("claims that are JSON, and a key for HS256")
}

/// Who plays: the session, made of a token that holds.
pub(crate) struct Player {
    id: Uid,
    role: Role,
}

impl Session for Player {
    fn uid(&self) -> Option<Uid> {
        Some(self.id.clone())
    }
}

#[derive(Serialize)]
struct Shown<'a> {
    id: &'a Uid,
    role: Role,
}

#[derive(Deserialize)]
struct Kick {
    player: Uid,
}

pub(crate) struct Game {
    key: DecodingKey,
    validation: Validation,
}

impl Game {
    /// A game that trusts what is signed with this secret.
    pub(crate) fn new(secret: &str) -> Self {
        Self {
            key: DecodingKey::from_secret(secret.as_bytes()),
            // One algorithm, whatever a token says of itself; `exp` must be there, and may be past by the minute that
            // clocks differ by.
            validation: Validation::new(Algorithm::HS256),
        }
    }

    fn check(&self, token: &str) -> Result<Player, Refusal> {
        let claims =
            decode::<Claims>(token, &self.key, &self.validation).map_err(|error| match error.kind() {
                ErrorKind::ExpiredSignature => Refusal::unauthorized("the token has expired; log in again"),
                ErrorKind::InvalidSignature => Refusal::unauthorized("the token was not signed by us"),
                _ => Refusal::unauthorized(format!("the token does not hold: {error}")),
            })?;
        let Claims { sub: id, role, .. } = claims.claims;
        Ok(Player { id, role })
    }
}

/// The token, wherever this client can put it.
fn find_token(handshake: &Handshake) -> Result<String, Refusal> {
    // A program sets a header field.
    if let Some(field) = handshake.header("authorization") {
        let scheme_and_token =
            field.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let (_, token) = scheme_and_token
            .ok_or_else(|| Refusal::unauthorized("`Authorization` must be `Bearer`, a space and a token"))?;
        return Ok(token.trim().to_owned());
    }
    // A browser cannot, but it can offer subprotocols: `new WebSocket(url, ["kengine.v1.json", token])`.
    if let Some(offer) = handshake.subprotocols().find(|offer| *offer != "kengine.v1.json") {
        return Ok(offer.to_owned());
    }
    // Anything can write a query, which logs and histories keep: let tokens that come so be short-lived.
    let token = handshake.query("token").ok_or_else(|| {
        Refusal::unauthorized(
            "no token; send it as `?token=…`, as `Authorization: Bearer …`, or as a subprotocol beside `kengine.v1.json`",
        )
    })?;
    Ok(token.into_owned())
}

#[kengine::dispatcher]
impl Game {
    /// Lets in whoever has a token of ours. It counts now: who is in may stay when it expires.
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<Player, Refusal> {
        self.check(&find_token(handshake)?)
    }

    /// Keeps what is an admin's from everybody else: also routes that nobody has written yet.
    #[before]
    async fn guard(&self, call: &Call, player: &Player) -> Result<(), Error> {
        if call.route.starts_with("admin/") && player.role != Role::Admin {
            return Err(Error::new("forbidden", format!("`{}` is for admins", call.route)));
        }
        Ok(())
    }

    /// Tells players who they are.
    #[route]
    async fn whoami<'a>(&self, player: &'a Player) -> Shown<'a> {
        Shown { id: &player.id, role: player.role }
    }

    /// Sends a player away, wherever they are connected; tells whether they were on this node.
    #[route("admin/kick")]
    async fn kick(&self, hub: &Hub, player: &Player, kick: Kick) -> bool {
        hub.user(&kick.player).kick(Close::new(CloseCode::KICKED, format!("kicked by {}", player.id))) > 0
    }
}
