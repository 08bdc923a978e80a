//! Checks tokens, and limits some routes to admins.

use std::time::{Duration, SystemTime};

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode, errors::ErrorKind, get_current_timestamp,
};
use kengine::{Call, Close, CloseCode, Connection, Error, Handshake, Hub, Refusal, Session, Uid};
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
    /// When the token is not accepted any more.
    expires: SystemTime,
}

impl Session for Player {
    fn uid(&self) -> Option<Uid> {
        Some(self.id.clone())
    }

    fn expires(&self) -> Option<SystemTime> {
        Some(self.expires)
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
        let Claims { sub: id, role, exp } = claims.claims;
        let valid = Duration::from_secs(exp.saturating_add(self.validation.leeway));
        let expires = SystemTime::UNIX_EPOCH.checked_add(valid);
        let expires = expires.ok_or_else(|| Refusal::unauthorized("invalid token: its `exp` is too large"))?;
        Ok(Player { id, role, expires })
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
    /// Accepts clients with a valid token. When it expires, the connection is closed with 4003, unless the client has
    /// sent a new one to `refresh`.
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

    /// Keeps the connection until a new token expires. It must be of the same player and role, because the session
    /// stays what it was.
    #[route]
    async fn refresh(&self, connection: &Connection<Player>, player: &Player, token: String) -> Result<(), Error> {
        let renewed = self.check(&token).map_err(|refusal| Error::new("unauthorized", refusal.message().to_owned()))?;
        if (&renewed.id, renewed.role) != (&player.id, player.role) {
            return Err(Error::new("unauthorized", "the token is of another player or role; connect with it instead"));
        }
        Ok(connection.extend(renewed.expires)?)
    }

    /// Disconnects a player, on any node. Returns whether the player was on this node.
    #[route("admin/kick")]
    async fn kick(&self, hub: &Hub, player: &Player, kick: Kick) -> bool {
        hub.user(&kick.player).kick(Close::new(CloseCode::KICKED, format!("kicked by {}", player.id))) > 0
    }
}
