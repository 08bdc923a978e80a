//! What a handler can be given besides its message.

use std::time::Duration;

use crate::dispatch::progress::Progress;
use crate::handles::Connection;
use crate::protocol::{Envelope, Error};

/// What a handler or a hook can be given besides its message: the connection, its session, and the request's envelope.
#[derive(Debug)]
pub struct Context<'a, S> {
    connection: &'a Connection<S>,
    envelope: Option<&'a Envelope<'a>>,
    /// `None` in a hook that was not called for a message.
    progress: Option<&'a Progress>,
    /// The position of the dispatcher's first route in the endpoint's table.
    offset: usize,
}

impl<S> Clone for Context<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Context<'_, S> {}

impl<'a, S> Context<'a, S> {
    /// Creates the context of a hook that is not called for a message.
    pub(crate) fn new(connection: &'a Connection<S>) -> Self {
        Self { connection, envelope: None, progress: None, offset: 0 }
    }

    /// Creates the context of a message.
    pub(crate) fn of_message(connection: &'a Connection<S>, progress: &'a Progress) -> Self {
        Self { progress: Some(progress), ..Self::new(connection) }
    }

    pub(crate) fn with_envelope(self, envelope: &'a Envelope<'a>) -> Self {
        Self { envelope: Some(envelope), ..self }
    }

    /// Returns the context for a dispatcher whose routes begin this many positions further in the endpoint's table.
    pub(crate) fn shifted(self, routes: usize) -> Self {
        Self { offset: self.offset + routes, ..self }
    }

    /// Returns the connection from which the message came.
    pub fn connection(self) -> &'a Connection<S> {
        self.connection
    }

    /// Returns the request's envelope; `None` in a hook that is not called for a request.
    pub fn envelope(self) -> Option<&'a Envelope<'a>> {
        self.envelope
    }

    /// Returns the session of the player who sent the message.
    pub fn session(self) -> &'a S {
        self.connection.session()
    }

    /// Names the route that handles the message, by its index in [`Dispatcher::ROUTES`](crate::Dispatcher::ROUTES).
    /// Counters and logs then show the route. Only a hand-written dispatcher calls this. It has no effect outside of
    /// [`Dispatcher::message`](crate::Dispatcher::message).
    pub fn set_route(self, route: usize) {
        if let Some(progress) = self.progress {
            progress.set_route(self.offset + route);
        }
    }

    pub(crate) fn progress(self) -> Option<&'a Progress> {
        self.progress
    }

    /// Limits how long the handler may run.
    pub(crate) fn set_timeout(self, limit: Duration) {
        if let Some(progress) = self.progress {
            progress.set_timeout(limit);
        }
    }

    /// Returns the error of a request that no route takes.
    pub(crate) fn unknown_method(self) -> Error {
        let no_request = || Error::new("unknown_method", "there is no request to route");
        self.envelope.map_or_else(no_request, Envelope::unknown_method)
    }
}
