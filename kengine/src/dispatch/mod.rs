//! From a message to its handler: the trait that `#[dispatcher]` implements, and what its expansion calls.

pub(crate) mod context;
pub(crate) mod dispatcher;
pub(crate) mod expansion;
pub(crate) mod from_context;
pub(crate) mod limits;
pub(crate) mod progress;
