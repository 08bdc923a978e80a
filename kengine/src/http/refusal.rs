//! Why a request became no connection: an HTTP status and a JSON body.

use std::{borrow::Cow, convert::Infallible, error::Error as StdError, fmt};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER},
};
use serde::Serialize;

use crate::language::{error::Error, uid::InvalidUid};

/// The body of every answer of ours: whole, in memory.
pub(crate) type Body = Full<Bytes>;

/// Why a request to open a connection is refused: an HTTP status, and a code and a message for its JSON body.
///
/// `#[accept]` returns one, or an error of your own that is `Into<Refusal>`:
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
/// The client sees `{"error": {"code": "…", "message": "…"}}`.
pub struct Refusal {
    status: StatusCode,
    code: Cow<'static, str>,
    message: Cow<'static, str>,
    fields: Vec<(HeaderName, HeaderValue)>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Refusal {
    /// A refusal with this status, a code for programs and a message for people. A status that refuses nothing
    /// (below 400, or above 599) becomes 500.
    pub fn new(
        status: u16,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        let refuses = (400..600).contains(&status);
        let status = StatusCode::from_u16(status).ok().filter(|_| refuses);
        Self::with_status(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), code, message)
    }

    /// 400: the request makes no sense.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::with_status(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// 401: it is not known who asks.
    pub fn unauthorized(message: impl Into<Cow<'static, str>>) -> Self {
        Self::with_status(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    /// 403: it is known who asks, and they may not enter.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::with_status(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// 503: not now; the client is told to come back in a second.
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::with_status(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
            .with(RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// 500, which hides its cause: that goes to `tracing`.
    pub fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let refusal = Self::with_status(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error");
        Self { source: Some(source.into()), ..refusal }
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// The code, as programs compare it.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The message, as people read it.
    pub fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn with_status(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { status, code: code.into(), message: message.into(), fields: Vec::new(), source: None }
    }

    pub(crate) fn method_not_allowed(allowed: &'static str) -> Self {
        let message = format!("only {allowed} is answered here");
        Self::with_status(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
            .with(ALLOW, HeaderValue::from_static(allowed))
    }

    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.fields.push((name, value));
        self
    }

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
        if let Some(source) = &self.source {
            tracing::error!(
                status = self.status(),
                error = &**source as &dyn StdError,
                "refused for a fault"
            );
        }
        let page = Page { error: Shown { code: &self.code, message: &self.message } };
        // Two strings into memory: neither the writer nor the value has a way to fail.
        let mut response = Response::new(Full::from(serde_json::to_vec(&page).unwrap_or_default()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.extend(self.fields.into_iter().map(|(name, value)| (Some(name), value)));
        response
    }
}

impl From<Infallible> for Refusal {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl From<Error> for Refusal {
    /// The error's own code and message, under the status that its code stands for: `bad_request` 400,
    /// `rate_limited` 429, `internal` 500, `unavailable` and `timeout` 503, `unauthorized` 401, any other 403.
    fn from(error: Error) -> Self {
        let status = match error.code() {
            "bad_request" => StatusCode::BAD_REQUEST,
            "unauthorized" => StatusCode::UNAUTHORIZED,
            "rate_limited" => StatusCode::TOO_MANY_REQUESTS,
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
    /// 400.
    fn from(error: InvalidUid) -> Self {
        Self::bad_request(error.to_string())
    }
}
