//! A refusal of a request: an HTTP status, header fields and a JSON body.

use std::{borrow::Cow, convert::Infallible, error::Error as StdError, fmt};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, TRANSFER_ENCODING,
};
use hyper::{HeaderMap, Response, StatusCode};
use serde::Serialize;

use crate::protocol::{Error, InvalidUid, logged};
use crate::websocket::{Close, CloseCode};

/// The body of a response, which is always complete in memory.
pub(crate) type Body = Full<Bytes>;

type BoxError = Box<dyn StdError + Send + Sync>;

/// The header fields that the server sets itself, so that a user cannot set them.
const FRAMING: [HeaderName; 4] = [CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING];

/// Why a request to open a connection is refused: an HTTP status, a code and a message for the JSON body, and
/// [header fields](Self::header).
///
/// `#[accept]` returns it, or your own error type that implements `Into<Refusal>`:
///
/// ```
/// use kengine::Refusal;
///
/// enum TokenError {
///     Expired,
///     Banned { until: String },
/// }
///
/// impl From<TokenError> for Refusal {
///     fn from(error: TokenError) -> Self {
///         match error {
///             TokenError::Expired => Self::unauthorized("the token has expired; log in again"),
///             TokenError::Banned { until } => Self::forbidden(format!("banned until {until}")),
///         }
///     }
/// }
///
/// assert_eq!(Refusal::from(TokenError::Expired).status(), 401);
/// ```
///
/// The client gets the body `{"error": {"code": "…", "message": "…"}}`. A page in a browser cannot read it, and gets a
/// [close code](Self::close).
pub struct Refusal {
    status: StatusCode,
    code: Cow<'static, str>,
    message: Cow<'static, str>,
    /// Boxed because a large error would make every `Result` with it large.
    headers: Box<HeaderMap>,
    source: Option<BoxError>,
}

impl Refusal {
    /// Creates a refusal with this status, a code for programs and a message for people. A status that is not an error
    /// (below 400 or above 599) becomes 500.
    pub fn new(status: u16, code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        let is_error = (400..600).contains(&status);
        let status = StatusCode::from_u16(status).ok().filter(|_| is_error);
        Self::with_status(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), code, message)
    }

    /// Creates a refusal with 400 `bad_request`: the request is malformed or incomplete.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::with_status(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// Creates a refusal with 401 `unauthorized`: the client is not authenticated. HTTP clients expect the header field
    /// `WWW-Authenticate` with it (RFC 9110, section 15.5.2).
    pub fn unauthorized(message: impl Into<Cow<'static, str>>) -> Self {
        Self::with_status(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    /// Creates a refusal with 403 `forbidden`: the client is known and may not connect.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::with_status(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// Creates a refusal with 503 `unavailable`, and `Retry-After: 1`: the client may try again after a second.
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::with_status(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
            .header(RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// Creates a refusal with 500 `internal`. The cause is hidden from the client and logged with `tracing`.
    pub fn internal(source: impl Into<BoxError>) -> Self {
        let refusal = Self::with_status(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error");
        Self { source: Some(source.into()), ..refusal }
    }

    /// Adds a header field to the response.
    ///
    /// ```
    /// use kengine::Refusal;
    ///
    /// let refusal = Refusal::unauthorized("log in first").header("WWW-Authenticate", "Bearer");
    /// assert_eq!(refusal.headers()["www-authenticate"], "Bearer");
    ///
    /// let refusal = Refusal::unavailable("the arena opens in a minute").header("Retry-After", 60);
    /// assert_eq!(refusal.headers()["retry-after"], "60");
    /// ```
    ///
    /// A field may be added several times, for example `Set-Cookie`; only `Retry-After` replaces an earlier value.
    ///
    /// If the client is told by a [close code](Self::close), the answer has only the fields `Set-Cookie`, and the
    /// reason contains `Retry-After`.
    ///
    /// The refusal becomes [`internal`](Self::internal), whose cause is logged, if the name or the value is invalid, or
    /// if the field is one that the server sets itself: `Connection`, `Content-Length`, `Content-Type` and
    /// `Transfer-Encoding`.
    #[must_use]
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName, Error: Into<BoxError>>,
        V: TryInto<HeaderValue, Error: Into<BoxError>>,
    {
        match header_field(name, value) {
            Ok((RETRY_AFTER, value)) => drop(self.headers.insert(RETRY_AFTER, value)),
            Ok((name, value)) => drop(self.headers.append(name, value)),
            Err(error) => return Self::internal(error),
        }
        self
    }

    /// Returns the HTTP status.
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// Returns the code, which is for programs.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Returns the message, which is for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the header fields that were added by [`header`](Self::header), and `Retry-After` of
    /// [`unavailable`](Self::unavailable).
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Returns the close code and the reason for a client that cannot read the status
    /// ([`Server::tell_refusals`](crate::Server::tell_refusals)).
    ///
    /// | status | close code |
    /// |---|---|
    /// | 401 | [4504](CloseCode::UNAUTHORIZED) |
    /// | 429 and 503 | [4004](CloseCode::TRY_LATER) |
    /// | any other below 500 | [4505](CloseCode::REFUSED) |
    /// | any other | [1011](CloseCode::INTERNAL_ERROR) |
    ///
    /// The reason is the code and the message. With 4004 it contains the seconds of `Retry-After`:
    ///
    /// ```
    /// use kengine::{CloseCode, Refusal};
    ///
    /// let close = Refusal::unauthorized("log in first").close();
    /// assert_eq!((close.code(), close.reason()), (CloseCode::UNAUTHORIZED, "unauthorized: log in first"));
    ///
    /// let close = Refusal::unavailable("the arena opens in a minute").header("Retry-After", 60).close();
    /// assert_eq!(close.reason(), "unavailable, retry after 60 s: the arena opens in a minute");
    /// ```
    pub fn close(&self) -> Close {
        let code = match self.status {
            StatusCode::UNAUTHORIZED => CloseCode::UNAUTHORIZED,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => CloseCode::TRY_LATER,
            status if status.is_server_error() => CloseCode::INTERNAL_ERROR,
            _ => CloseCode::REFUSED,
        };
        let delay = self.headers.get(RETRY_AFTER).filter(|_| code == CloseCode::TRY_LATER);
        // It may also be a date (RFC 9110, section 10.2.3). Then the client waits for as long as it chooses.
        let seconds = delay.and_then(|delay| delay.to_str().ok()?.parse::<u32>().ok());
        let delay = seconds.map_or_else(String::new, |seconds| format!(", retry after {seconds} s"));
        Close::new(code, format!("{}{delay}: {}", self.code, self.message))
    }

    pub(crate) fn with_status(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { status, code: code.into(), message: message.into(), headers: Box::default(), source: None }
    }

    /// Creates a refusal with 429 `rate_limited`, and `Retry-After: 1`: the client comes too often.
    pub(crate) fn rate_limited(message: impl Into<Cow<'static, str>>) -> Self {
        Self::with_status(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message)
            .header(RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// Creates a refusal with 405. `allowed` lists the allowed methods.
    pub(crate) fn method_not_allowed(allowed: &'static str) -> Self {
        let message = format!("this method is not allowed; use {allowed}");
        Self::with_status(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
            .header(ALLOW, HeaderValue::from_static(allowed))
    }

    /// Logs the cause of an internal error.
    pub(crate) fn log_source(&self) {
        if let Some(source) = &self.source {
            tracing::error!(status = self.status(), error = logged(&**source), "refused because of an internal error");
        }
    }

    /// Returns the response, and logs the cause of an internal error.
    pub(crate) fn into_response(self) -> Response<Body> {
        #[derive(Serialize)]
        struct Page<'a> {
            error: Shown<'a>,
        }
        #[derive(Serialize)]
        struct Shown<'a> {
            code: &'a str,
            message: &'a str,
        }
        self.log_source();
        let page = Page { error: Shown { code: &self.code, message: &self.message } };
        // Writing two strings to memory cannot fail.
        let mut response = Response::new(Full::from(serde_json::to_vec(&page).unwrap_or_default()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.extend(*self.headers);
        response
    }
}

/// Checks a header field that a user adds.
fn header_field<N, V>(name: N, value: V) -> Result<(HeaderName, HeaderValue), BoxError>
where
    N: TryInto<HeaderName, Error: Into<BoxError>>,
    V: TryInto<HeaderValue, Error: Into<BoxError>>,
{
    let name = name.try_into().map_err(Into::into)?;
    if FRAMING.contains(&name) {
        return Err(format!("a refusal cannot set the header field `{name}`; the server sets it").into());
    }
    match value.try_into() {
        Ok(value) => Ok((name, value)),
        Err(error) => Err(format!("the header field `{name}` of a refusal: {}", error.into()).into()),
    }
}

impl From<Infallible> for Refusal {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl From<Error> for Refusal {
    /// Keeps the code and the message. The status follows from the code: 400 for `bad_request`, 401 for `unauthorized`,
    /// 429 for `rate_limited`, 500 for `internal`, 503 for `unavailable` and for `timeout` (whose code becomes
    /// `unavailable`), and 403 for any other code.
    fn from(error: Error) -> Self {
        let status = match error.code() {
            "bad_request" => StatusCode::BAD_REQUEST,
            "unauthorized" => StatusCode::UNAUTHORIZED,
            "rate_limited" => return Self::rate_limited(error.message().to_owned()),
            "internal" => StatusCode::INTERNAL_SERVER_ERROR,
            "unavailable" | "timeout" => return Self::unavailable(error.message().to_owned()),
            _ => StatusCode::FORBIDDEN,
        };
        let refusal = Self::with_status(status, error.code().to_owned(), error.message().to_owned());
        Self { source: error.into_source(), ..refusal }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.status.as_u16(), self.message)
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status.as_u16(), self.code, self.message)
    }
}

impl StdError for Refusal {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<InvalidUid> for Refusal {
    /// Creates a refusal with 400.
    fn from(error: InvalidUid) -> Self {
        Self::bad_request(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_fields_reach_the_response() {
        let refusal = Refusal::unauthorized("log in first")
            .header("WWW-Authenticate", "Basic")
            .header("www-authenticate", HeaderValue::from_static("Bearer"))
            .header(String::from("X-Queue"), 7);
        let response = refusal.into_response();
        assert_eq!(response.status(), 401);
        let challenges: Vec<_> = response.headers().get_all("www-authenticate").iter().collect();
        assert_eq!(challenges, ["Basic", "Bearer"]);
        assert_eq!(response.headers()["x-queue"], "7");
        assert_eq!(response.headers()["content-type"], "application/json");
    }

    #[test]
    fn retry_after_replaces_the_default() {
        for code in ["rate_limited", "unavailable", "timeout"] {
            assert_eq!(Refusal::from(Error::new(code, "later")).headers()["retry-after"], "1", "{code}");
        }
        let refusal = Refusal::unavailable("later");
        let headers = refusal.header("Retry-After", "30").into_response().into_parts().0.headers;
        assert_eq!(headers.get_all(RETRY_AFTER).iter().collect::<Vec<_>>(), ["30"]);
    }

    #[test]
    fn the_close_code_follows_from_the_status_and_the_reason_from_the_rest() {
        for (refusal, code, reason) in [
            (Refusal::unauthorized("who?"), 4504, "unauthorized: who?"),
            (Refusal::forbidden("banned"), 4505, "forbidden: banned"),
            (Refusal::new(409, "full", "no seat"), 4505, "full: no seat"),
            (Refusal::bad_request("no room"), 4505, "bad_request: no room"),
            (Refusal::rate_limited("slower"), 4004, "rate_limited, retry after 1 s: slower"),
            (Refusal::unavailable("later").header("Retry-After", 90), 4004, "unavailable, retry after 90 s: later"),
            (
                Refusal::unavailable("later").header("Retry-After", "Fri, 31 Dec 2027 23:59:59 GMT"),
                4004,
                "unavailable: later",
            ),
            (Refusal::new(503, "closed", "at night"), 4004, "closed: at night"),
            (Refusal::forbidden("banned").header("Retry-After", 90), 4505, "forbidden: banned"),
            (Refusal::internal("a secret"), 1011, "internal: internal error"),
            (Refusal::new(504, "slow", "the login service"), 1011, "slow: the login service"),
        ] {
            let close = refusal.close();
            assert_eq!((close.code().get(), close.reason()), (code, reason), "{refusal:?}");
        }
        // The longest reason has 123 bytes. The code comes first, so it is not cut.
        let close = Refusal::forbidden("x".repeat(200)).close();
        assert_eq!((close.reason().len(), close.reason().starts_with("forbidden: x")), (123, true));
    }

    #[test]
    fn an_invalid_header_field_becomes_an_internal_error() {
        for (name, value, cause) in [
            ("a b", "c", "invalid HTTP header name"),
            ("", "c", "invalid HTTP header name"),
            ("x-reason", "a\r\nset-cookie: b", "the header field `x-reason` of a refusal: "),
            ("Content-Length", "5", "cannot set the header field `content-length`"),
            ("content-type", "text/html", "cannot set the header field `content-type`"),
            ("transfer-encoding", "chunked", "cannot set the header field `transfer-encoding`"),
            ("connection", "close", "cannot set the header field `connection`"),
        ] {
            let refusal = Refusal::forbidden("no").header(name, value);
            assert_eq!((refusal.status(), refusal.code()), (500, "internal"), "{name}: {value}");
            let source = refusal.source().unwrap().to_string();
            assert!(source.contains(cause), "{source}");
            assert!(refusal.headers().is_empty());
        }
    }
}
