//! Checks tokens, and limits some routes to admins.

use std::time::Duration;

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode, errors::ErrorKind, get_current_timestamp,
};
use kengine::{Call, Close, CloseCode, Error, Handshake, Hub, Refusal, Session, Uid};
use serde::{Deserialize, Serialize};

/// The role of a player, which decides what they may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Player,
    Admin,
}

/// The claims of a token (RFC 7519), signed by the login service.
#[derive(Serialize, Deserialize)]
struct Claims {
    sub: Uid,
    role: Role,
    /// Expiry, in seconds since 1970.
    exp: u64,
}

/// Creates a token that is valid for this duration. In a real game, the login service creates tokens.
pub(crate) fn token(secret: &str, id: &Uid, role: Role, valid: Duration) -> String {
    let claims = Claims { sub: id.clone(), role, exp: get_current_timestamp() + valid.as_secs() };
    let key = EncodingKey::from_secret(secret.as_bytes());
    encode(&Header::new(Algorithm::HS256), &claims, &key).expect("claims that serialize as JSON, and a key for HS256")
}

/// The session of a player, created from a valid token.
pub(crate) struct Player {
    id: Uid,
    role: Role,
}

impl Session for Player {
    fn uid(&self) -> Option<Uid> {
        Some(self.id.clone())
    }
}

/// The answer to `whoami`.
#[derive(Serialize)]
struct Identity<'a> {
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
    /// Creates a game that trusts tokens signed with this secret.
    pub(crate) fn new(secret: &str) -> Self {
        Self {
            key: DecodingKey::from_secret(secret.as_bytes()),
            // Accepts only this algorithm, even if the token names another one. `exp` is required, with a tolerance of
            // one minute for differences between clocks.
            validation: Validation::new(Algorithm::HS256),
        }
    }

    fn check(&self, token: &str) -> Result<Player, Refusal> {
        let claims = decode::<Claims>(token, &self.key, &self.validation).map_err(|error| match error.kind() {
            ErrorKind::ExpiredSignature => Refusal::unauthorized("the token has expired; log in again"),
            ErrorKind::InvalidSignature => Refusal::unauthorized("the token was not signed by us"),
            _ => Refusal::unauthorized(format!("invalid token: {error}")),
        })?;
        let Claims { sub: id, role, .. } = claims.claims;
        Ok(Player { id, role })
    }
}

/// Finds the token in any of the places where a client can put it.
fn find_token(handshake: &Handshake) -> Result<String, Refusal> {
    // A program can set a header field.
    if let Some(field) = handshake.header("authorization") {
        let scheme_and_token = field.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let (_, token) = scheme_and_token
            .ok_or_else(|| Refusal::unauthorized("`Authorization` must be `Bearer`, a space and a token"))?;
        return Ok(token.trim().to_owned());
    }
    // A browser cannot set header fields, but it can offer subprotocols: `new WebSocket(url, ["kengine.v1.json",
    // token])`.
    if let Some(offer) = handshake.subprotocols().find(|offer| *offer != "kengine.v1.json") {
        return Ok(offer.to_owned());
    }
    // Every client can set the query. URLs end up in logs and histories, so such tokens should be short-lived.
    let token = handshake.query("token").ok_or_else(|| {
        Refusal::unauthorized(
            "no token; send it as `?token=…`, as `Authorization: Bearer …`, or as a subprotocol next to `kengine.v1.json`",
        )
    })?;
    Ok(token.into_owned())
}

#[kengine::dispatcher]
impl Game {
    /// Accepts clients with a valid token. The token is checked only here, so a connection stays open after its token
    /// expires.
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<Player, Refusal> {
        self.check(&find_token(handshake)?)
    }

    /// Limits all routes under `admin/` to admins, including future ones.
    #[before]
    async fn guard(&self, call: &Call, player: &Player) -> Result<(), Error> {
        if call.route.starts_with("admin/") && player.role != Role::Admin {
            return Err(Error::new("forbidden", format!("`{}` is for admins", call.route)));
        }
        Ok(())
    }

    /// Returns the player's own id and role.
    #[route]
    async fn whoami<'a>(&self, player: &'a Player) -> Identity<'a> {
        Identity { id: &player.id, role: player.role }
    }

    /// Disconnects a player, on any node. Returns whether the player was on this node.
    #[route("admin/kick")]
    async fn kick(&self, hub: &Hub, player: &Player, kick: Kick) -> bool {
        hub.user(&kick.player).kick(Close::new(CloseCode::KICKED, format!("kicked by {}", player.id))) > 0
    }
}
