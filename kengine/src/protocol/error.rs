//! The error of a request.

use std::{borrow::Cow, error::Error as StdError, fmt};

use crate::protocol::logged::logged;

/// Why a request failed. The client sees the code and the message; the source is logged with `tracing`.
///
/// Handlers return `Result<T, E>` for any `E: Into<Error>`. Implement `From<YourError> for kengine::Error` to turn your
/// own error type into an error reply:
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
pub struct Error(
    /// Boxed because a large error would make every `Result` with it large, and so each future of a dispatcher.
    Box<Parts>,
);

struct Parts {
    code: Cow<'static, str>,
    message: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// A `Result` whose error type is [`Error`] by default.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Creates an error with a code for programs and a message for people. Both are sent to the client.
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Parts { code: code.into(), message: message.into(), source: None }))
    }

    /// Creates an error that hides its cause: the client sees only the code `internal`, and the cause is logged with
    /// `tracing`.
    ///
    /// ```
    /// # fn load() -> std::io::Result<String> { Err(std::io::Error::other("disk on fire")) }
    /// let error = load().map_err(kengine::Error::internal).unwrap_err();
    /// assert_eq!(error.to_string(), "internal error");
    /// ```
    pub fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new("internal", "internal error").with_source(source)
    }

    /// Attaches a source for `tracing`. The client never sees it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Logs the error with the message `what`. Used when there is no client to report it to.
    pub(crate) fn log(&self, what: &'static str) {
        tracing::error!(code = self.code(), reason = self.message(), error = self.source().map(logged), "{what}");
    }

    pub(crate) fn into_source(self) -> Option<Box<dyn StdError + Send + Sync>> {
        self.0.source
    }

    /// Returns the code, for programs. [`kengine::wire`](crate::wire) lists the codes that kengine itself uses.
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// Returns the message, for people.
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

/// Shows the message and the code, then each cause on its own line.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0.message, self.0.code)?;
        write_causes(self, f)
    }
}

/// Writes each cause of an error on its own line.
pub(crate) fn write_causes(error: &dyn StdError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(f, "\n  caused by: {error}")?;
        cause = error.source();
    }
    Ok(())
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_every_cause_and_display_shows_none() {
        let cause = Error::new("inner", "the disk is full").with_source("no space");
        let error = Error::internal(cause);
        assert_eq!(error.to_string(), "internal error");
        let shown = "internal error (internal)\n  caused by: the disk is full\n  caused by: no space";
        assert_eq!(format!("{error:?}"), shown);
        assert_eq!(error.into_source().unwrap().to_string(), "the disk is full");
    }
}
