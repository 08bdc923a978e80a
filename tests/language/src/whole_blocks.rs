//! Other items that a block can contain.

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(transparent)]
struct Game {
    level: u8,
}

/// A block with docs.
#[kengine::dispatcher]
#[allow(clippy::unused_async)]
impl self::Game {
    #![allow(non_upper_case_globals)]

    /// A constant whose value has braces.
    const start: Self = Self { level: 1 };

    #[doc(hidden)]
    pub const fn new() -> Self {
        Self::start
    }

    fn helper<T: Into<u8>>(level: T) -> u8 {
        level.into()
    }

    /// With docs.
    #[route("set")]
    #[must_use]
    pub(crate) async fn set(&self, level: Self) -> u8 {
        let nested = async || Self::helper(level.level);
        nested().await
    }

    #[route]
    async fn r#move(
        &self,
        _: (
            Vec<Game>,
            Option<
                [u8; {
                    const TWO: usize = 2;
                    TWO
                }],
            >,
        ),
    ) {
    }

    #[route("quoted \"name\" \u{e9}")]
    async fn quoted(&self) {}

    #[route(r"raw \name")]
    async fn raw(&self, _: std::collections::HashMap<String, Vec<(u8, u8)>>) {}
}

#[test]
fn the_forms_do_what_they_say() {
    use kengine::Dispatcher;

    let _ = Game::new();
    let names: Vec<_> = Game::ROUTES.iter().map(|route| route.name).collect();
    assert_eq!(names, ["set", "move", "quoted \"name\" é", r"raw \name"]);
}
