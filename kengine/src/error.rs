//! The error of a request, and of a server that cannot start.

use std::{borrow::Cow, error::Error as StdError, fmt};

/// What went wrong with a request: the client sees the code and the message, `tracing` the source.
///
/// Handlers return `Result<T, E>` for any `E: Into<Error>`; a type of your own becomes an error reply by
/// `impl From<YourError> for kengine::Error`.
///
/// ```
/// enum Refused {
///     Sleeping,
/// }
///
/// impl From<Refused> for kengine::Error {
///     fn from(refused: Refused) -> Self {
///         match refused {
///             Refused::Sleeping => Self::new("sleeping", "your character sleeps until morning"),
///         }
///     }
/// }
///
/// let error = kengine::Error::from(Refused::Sleeping);
/// assert_eq!(error.code(), "sleeping");
/// ```
pub struct Error {
    code: Cow<'static, str>,
    message: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// A `Result` whose error is [`Error`] unless another is named.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error with a code for programs and a message for people; both are sent to the client.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code: code.into(), message: message.into(), source: None }
    }

    /// An error that hides its cause: the client sees the code `internal` and nothing else, the cause goes
    /// to `tracing`.
    ///
    /// ```
    /// # fn load() -> std::io::Result<String> { Err(std::io::Error::other("disk on fire")) }
    /// let error = load().map_err(kengine::Error::internal).unwrap_err();
    /// assert_eq!(error.to_string(), "internal error");
    /// ```
    pub fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..Self::new("internal", "internal error") }
    }

    /// Keeps `source` beside this error, for `tracing`; the client never sees it.
    #[must_use]
    pub fn with_source(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// Tells the operator, where no client is told.
    pub(crate) fn trace(&self, what: &'static str) {
        tracing::error!(code = self.code(), message = self.message(), error = self.source(), "{what}");
    }

    pub(crate) fn into_source(self) -> Option<Box<dyn StdError + Send + Sync>> {
        self.source
    }

    /// The code, as programs compare it; the framework's own codes are `bad_request`, `unknown_method`,
    /// `invalid_message`, `too_large`, `rate_limited`, `timeout`, `unauthorized`, `unavailable` and `internal`.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The message, as people read it.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Written for the person who reads it at the end of `main`: the message, then each cause.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)?;
        let mut cause = self.source();
        while let Some(error) = cause {
            write!(f, "\n  caused by: {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
