//! The language of clients and dispatchers: requests, answers, pushes, questions and hooks.

mod asking;
mod composition;
mod handlers;
mod hooks;
mod large_handlers;
mod latest;
mod malformed;
mod outside;
mod own_dispatcher;
mod policies;
mod pushes;
mod requests;
