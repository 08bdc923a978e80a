//! The tokens with which a client resumes its session.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::protocol::uid::random_bits;

/// The subprotocol of a client that can resume its session.
pub(crate) const RESUME_SUBPROTOCOL: &str = "kengine.v1.resume.json";

/// The length of a node's tag, in hexadecimal digits.
const TAG_LEN: usize = 8;
/// The length of a token without the tag, in hexadecimal digits.
const SECRET_LEN: usize = 32;

/// A token that was given to a client: 128 random bits. On the wire they follow the tag of the node that gave it, so
/// that a gateway finds the node: `7f3a90c1-` and 32 hexadecimal digits.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Token([u64; 2]);

impl Token {
    /// Returns a random token.
    pub(crate) fn random() -> Self {
        Self([random_bits(), random_bits()])
    }

    #[cfg(test)]
    pub(super) fn of_number(number: u64) -> Self {
        Self([0, number])
    }

    /// Returns the half of the token by which its session is found. The session compares the whole.
    pub(crate) fn key(self) -> u64 {
        let [_, low] = self.0;
        low
    }

    /// Returns the token as the client gets it from a node with this tag.
    pub(crate) fn text(self, tag: u32) -> String {
        let [high, low] = self.0;
        format!("{tag:08x}-{high:016x}{low:016x}")
    }

    /// Reads a token, and the tag of the node that has given it. `None` if no node writes tokens like this.
    fn parse(text: &str) -> Option<(u32, Self)> {
        let (its_tag, secret) = text.split_once('-')?;
        let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if its_tag.len() != TAG_LEN || secret.len() != SECRET_LEN || !is_hex(its_tag) || !is_hex(secret) {
            return None;
        }
        let number = |text| u64::from_str_radix(text, 16).ok();
        let (high, low) = secret.split_at(SECRET_LEN / 2);
        Some((u32::from_str_radix(its_tag, 16).ok()?, Self([number(high)?, number(low)?])))
    }
}

impl PartialEq for Token {
    /// Takes the same time for all tokens, so that no time tells how much of a guess is right.
    fn eq(&self, other: &Self) -> bool {
        let ([high, low], [other_high, other_low]) = (self.0, other.0);
        // Hidden from the optimizer, which could otherwise compare one half first.
        std::hint::black_box((high ^ other_high) | (low ^ other_low)) == 0
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    /// Omits the token, which is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// What a client that comes back says in the query of its request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResumeRequest {
    /// The tag of the node that has given the token.
    pub(crate) tag: u32,
    pub(crate) token: Token,
    /// How many messages the client has received.
    pub(crate) received: u64,
}

impl ResumeRequest {
    /// Returns the request of a client, if its parameters are well-formed.
    pub(crate) fn parse(token: &str, received: &str) -> Option<Self> {
        let is_count = received.bytes().all(|byte| byte.is_ascii_digit());
        let received = received.parse().ok().filter(|_| is_count)?;
        let (tag, token) = Token::parse(token)?;
        Some(Self { tag, token, received })
    }
}

/// The tokens of a session that may be used. Each is used once: when the client comes back, it gets another one. Only
/// if the client was cut off again before it can have got that one, the earlier one is still valid, because the client
/// has no other.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// The token that was given last.
    last: Token,
    /// The one before, until the client shows that it has got the last one.
    before: Option<Box<Token>>,
}

impl Tokens {
    pub(crate) fn new(first: Token) -> Self {
        Self { last: first, before: None }
    }

    /// Returns the tokens of a session whose client has come back with `used`, and is given `next`.
    pub(crate) fn after(used: Token, next: Token) -> Self {
        Self { last: next, before: Some(Box::new(used)) }
    }

    /// Returns the token that was given last.
    pub(crate) fn last(&self) -> Token {
        self.last
    }

    /// Returns all tokens that are valid.
    pub(crate) fn valid(&self) -> impl Iterator<Item = Token> {
        [Some(self.last), self.before.as_deref().copied()].into_iter().flatten()
    }

    /// Gives another token to a client that comes back with `used`. Returns the token that is not valid any more, if
    /// there is one.
    pub(crate) fn renew(&mut self, used: Token, next: Token) -> Option<Token> {
        let (last, before) = (self.last, self.before.replace(Box::new(used)));
        self.last = next;
        match before {
            // The client has used the last one, so it has got it.
            Some(before) if used == last => Some(*before),
            // The last one never arrived.
            Some(_) => Some(last),
            None => None,
        }
    }

    /// Records that the client has got the last token. Returns the token that is not valid any more, if there is one.
    pub(crate) fn confirm(&mut self) -> Option<Token> {
        self.before.take().map(|before| *before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let token = Token([0x00ff_0123_4567_89ab, 0xcdef_0000_0000_0001]);
        let text = token.text(0x0a);
        assert_eq!(text, "0000000a-00ff0123456789abcdef000000000001");
        assert_eq!(Token::parse(&text), Some((0x0a, token)));
        let long = "0".repeat(1 << 20);
        for text in [
            "",
            "-",
            "0000000a",
            "0000000a-",
            "a-00ff0123456789abcdef000000000001",
            "0000000a-0ff0123456789abcdef000000000001",
            "0000000a-000ff0123456789abcdef000000000001",
            "0000000A-00ff0123456789abcdef000000000001",
            "0000000a-00FF0123456789abcdef000000000001",
            "0000000a-+0ff0123456789abcdef000000000001",
            "0000000a-00ff0123456789abcdef00000000000é",
            " 0000000a-00ff0123456789abcdef000000000001",
            &long,
        ] {
            assert_eq!(Token::parse(text), None, "{}", &text[..text.len().min(60)]);
        }
    }

    #[test]
    fn a_count_is_read_strictly() {
        let token = Token::random().text(1);
        let received = |text| ResumeRequest::parse(&token, text).map(|request| request.received);
        assert_eq!(received("0"), Some(0));
        assert_eq!(received("18446744073709551615"), Some(u64::MAX));
        for text in ["", "-1", "+1", "1.0", "0x1", "1e3", " 1", "18446744073709551616", "ten"] {
            assert_eq!(received(text), None, "{text}");
        }
    }

    #[test]
    fn a_token_is_valid_until_the_client_has_got_the_next_one() {
        let tokens: Vec<_> = (0..4).map(Token::of_number).collect();
        let valid = |tokens: &Tokens| tokens.valid().map(|token| token.0[1]).collect::<Vec<_>>();
        let mut session = Tokens::new(tokens[0]);
        assert_eq!(valid(&session), [0]);
        assert_eq!(session.renew(tokens[0], tokens[1]), None);
        assert_eq!(valid(&session), [1, 0]);
        // The answer was lost.
        assert_eq!(session.renew(tokens[0], tokens[2]), Some(tokens[1]));
        assert_eq!(valid(&session), [2, 0]);
        // The answer came, and then the connection was cut.
        assert_eq!(session.renew(tokens[2], tokens[3]), Some(tokens[0]));
        assert_eq!(valid(&session), [3, 2]);
        assert_eq!(session.confirm(), Some(tokens[2]));
        assert_eq!(valid(&session), [3]);
        assert_eq!(session.confirm(), None);
    }

    #[test]
    fn a_token_is_not_shown() {
        assert_eq!(format!("{:?}", Token::of_number(77)), "Token");
    }
}
