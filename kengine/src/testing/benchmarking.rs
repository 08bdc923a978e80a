//! What the benchmarks in `kengine/benches` need of the private parts of kengine. Compiled only with
//! `--cfg kengine_bench`, which they and `.ci/model` set.

use std::sync::Arc;

use crate::connection::Endpoint;
use crate::dispatch::{Context, Dispatcher, Progress};
use crate::handles::Connection;
use crate::protocol::{Answer, Envelope, Syntax};
use crate::testing::Served;
use crate::websocket::Message;

/// Parses an envelope. Returns `None` if it is invalid.
pub fn parse_envelope(text: &str, syntax: Syntax) -> Option<Envelope<'_>> {
    Envelope::parse(text, syntax).ok()
}

impl<D: Dispatcher> Served<D> {
    /// Opens a connection that has neither a socket nor a task, created without `#[accept]` and `#[open]`.
    pub fn connect_without_socket(&self, session: D::Session) -> SocketlessConnection<D> {
        let endpoint = Arc::clone(&self.first);
        let connection = Connection::new(Arc::clone(&endpoint.node), session, None, const { &D::SYNTAX });
        SocketlessConnection { endpoint, connection, answer: Answer::default() }
    }
}

/// A connection that has neither a socket nor a task.
#[derive(Debug)]
pub struct SocketlessConnection<D: Dispatcher> {
    endpoint: Arc<Endpoint<D>>,
    connection: Connection<D::Session>,
    answer: Answer,
}

impl<D: Dispatcher> SocketlessConnection<D> {
    /// Handles a text message, and appends the frames of its answer to `out`.
    pub async fn handle(&mut self, text: &str, out: &mut Vec<u8>) {
        self.answer.reset();
        let progress = Progress::new(self.endpoint.node.clock.now());
        let context = Context::of_message(&self.connection, &progress);
        self.endpoint.dispatcher.message(context, Message::Text(text), &mut self.answer).await;
        self.answer.move_to(out);
    }

    /// Appends the frames that wait in the outbox to `out`.
    pub fn take_pushes(&self, out: &mut Vec<u8>) {
        self.connection.state().outbox.take_pushes(out, &self.endpoint.node.fan_out.backlog);
    }

    /// Returns the handle to the connection.
    pub fn connection(&self) -> &Connection<D::Session> {
        &self.connection
    }
}
