//! What kengine logs during a test.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use tracing::{Level, subscriber::DefaultGuard};
use tracing_subscriber::fmt::MakeWriter;

/// The log of the thread that created it, in the usual format of tracing-subscriber. The tasks of a test's runtime run
/// on the test's thread.
#[derive(Debug)]
pub struct Log {
    written: Written,
    _subscriber: DefaultGuard,
}

#[derive(Clone, Debug, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Records events of this level and above from now on.
    pub fn start(level: Level) -> Self {
        let written = Written::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .without_time()
            .with_writer(written.clone())
            .finish();
        Self { written, _subscriber: tracing::subscriber::set_default(subscriber) }
    }

    /// Returns what was written.
    pub fn text(&self) -> String {
        let written = self.written.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8(written.clone()).expect("a log in UTF-8")
    }

    /// Returns the lines, separated by line feeds alone, that contain this text.
    pub fn lines_with(&self, text: &str) -> Vec<String> {
        self.text().split('\n').filter(|line| line.contains(text)).map(str::to_owned).collect()
    }
}

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Written {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
