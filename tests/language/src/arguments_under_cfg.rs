//! Arguments under `cfg`s.

use kengine::{Call, Connection, DisconnectReason, Dispatcher, Handshake, Refusal};

struct Game;

#[kengine::dispatcher]
impl Game {
    #[accept]
    async fn accept(&self, #[cfg(test)] _: &Handshake, #[cfg(any())] _: &Missing) -> Result<(), Refusal> {
        Ok(())
    }

    #[route]
    async fn ping(&self, #[cfg(any())] c: &Connection, text: String) -> usize {
        text.len()
    }

    #[route]
    async fn last(&self, _: &Connection, #[cfg(any())] text: Missing) {}

    #[route]
    #[cfg(test)]
    async fn one_of_two(
        &self,
        #[cfg(unix)] _: &Connection,
        #[cfg(not(unix))] _: &kengine::Hub,
        #[cfg(unix)]
        #[cfg(not(not(any(unix, windows))))]
        message: u8,
        #[cfg(not(unix))] message: u16,
    ) {
        let _ = message;
    }

    #[route]
    async fn none(&self, #[cfg(any())] _: Missing) {}

    #[before]
    async fn before(&self, #[cfg(any())] _: &Missing, _: &Call) {}

    #[close]
    async fn close(&self, #[cfg(any())] _: &Missing, #[cfg(test)] _: &DisconnectReason) {}

    #[fallback]
    async fn fallback(&self, #[cfg(any())] _: &Missing) {}
}

#[test]
fn the_forms_do_what_they_say() {
    assert_eq!(Game::ROUTES.len(), 4);
}
