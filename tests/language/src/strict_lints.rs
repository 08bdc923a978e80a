//! The expansion causes no warning, whatever lints the user's crate denies.

#![deny(warnings, missing_docs, clippy::pedantic, clippy::nursery)]
#![deny(
    elided_lifetimes_in_paths,
    explicit_outlives_requirements,
    let_underscore_drop,
    missing_debug_implementations,
    redundant_lifetimes,
    rust_2018_idioms,
    single_use_lifetimes,
    trivial_casts,
    unit_bindings,
    unnameable_types,
    unreachable_pub,
    unused_import_braces,
    unused_lifetimes,
    unused_qualifications,
    unused_results,
    variant_size_differences
)]
#![forbid(unsafe_code, unreachable_patterns, unused_imports, unused_variables)]

use kengine::{
    Connection, Context, Dispatcher, Liveness, Result, dispatcher,
    wire::{Answer, Envelope, Route},
};
use serde::{Deserialize, Serialize};

/// A message.
#[derive(Debug, Deserialize, Serialize)]
pub struct Chat {
    /// Its text.
    pub greeting: String,
}

/// A dispatcher.
#[derive(Debug)]
pub struct Game;

#[dispatcher]
impl Game {
    /// Documented.
    ///
    /// # Errors
    ///
    /// Never.
    #[route("chat")]
    #[inline]
    pub async fn chat(&self, connection: &Connection, chat: Chat) -> Result<Chat> {
        let _ = (self, connection);
        tokio::task::yield_now().await;
        Ok(chat)
    }

    #[route]
    #[allow(non_snake_case)]
    async fn Undocumented(&self) -> u8 {
        std::future::ready(3).await
    }

    #[fallback]
    async fn rest(&self, envelope: &Envelope<'_>) -> usize {
        std::future::ready(envelope.size()).await
    }

    #[heartbeat]
    async fn alive(&self) -> Liveness {
        std::future::ready(Liveness::Alive).await
    }
}

/// Results, contexts and hooks.
#[derive(Debug)]
pub struct Bare;

#[dispatcher]
impl Bare {
    #[route]
    async fn only(&self) -> Result<()> {
        std::future::ready(Ok(())).await
    }
}

#[test]
fn the_forms_do_what_they_say() {
    let _ = (Game, Bare, <Game as Dispatcher>::ROUTES[0] == Route::new("chat"));
    let nothing: Option<(Context<'_, ()>, Answer)> = None;
    assert!(nothing.is_none());
}
