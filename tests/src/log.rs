//! What kengine logs during a test.

use std::{
    io,
    sync::{Arc, Mutex, Once, PoisonError},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    span::{Attributes, Id, Record},
    subscriber::{DefaultGuard, Interest},
};
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
        let_each_event_be_asked_for();
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

/// Makes tracing ask for each event whether somebody records it.
///
/// Otherwise tracing remembers the answer for each place in the code. If a test reaches a place for the first time at
/// the moment when another one starts its log, the place may be remembered as one whose events nobody records.
pub(crate) fn let_each_event_be_asked_for() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that the program has another global subscriber.
        let _ = tracing::subscriber::set_global_default(Undecided);
    });
}

/// A subscriber that records nothing, and does not say so beforehand.
struct Undecided;

impl Subscriber for Undecided {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
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
