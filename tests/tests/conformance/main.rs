//! Conformance to RFC 6455, judged by programs of others: Autobahn's test suite, browsers, and other libraries.

mod autobahn;
mod behaviours;
#[path = "../../../examples/chat/browser.rs"]
mod browser;
mod clients;
mod drivers;
