//! Every kind of reply, recognized by its traits and not by its name.

use std::{fmt, io};

use serde::Serialize;

#[derive(Serialize)]
struct Level {
    level: u32,
}

#[derive(Serialize)]
struct Done;

enum Refused {
    Asleep,
}

impl From<Refused> for kengine::Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Asleep => Self::new("asleep", "come back in the morning"),
        }
    }
}

type Answer<T> = Result<T, Refused>;
type Nothing = Result<(), Refused>;

struct Game;

#[kengine::dispatcher]
impl Game {
    #[route]
    async fn unit(&self) {}

    #[route]
    async fn written_unit(&self) -> () {}

    #[route]
    async fn unit_struct(&self) -> Done {
        Done
    }

    #[route]
    async fn value(&self) -> Level {
        Level { level: 3 }
    }

    #[route]
    async fn option(&self) -> Option<Level> {
        None
    }

    #[route]
    async fn result(&self) -> Result<Level, kengine::Error> {
        Ok(Level { level: 3 })
    }

    #[route]
    async fn result_of_ours(&self) -> kengine::Result<Level> {
        Err(io::Error::other("disk on fire")).map_err(kengine::Error::internal)
    }

    #[route]
    async fn result_of_unit(&self) -> kengine::Result<()> {
        Ok(())
    }

    #[route]
    async fn result_of_option(&self) -> Result<Option<Level>, Refused> {
        Ok(None)
    }

    #[route]
    async fn result_of_own_error(&self) -> Result<Vec<Level>, Refused> {
        Err(Refused::Asleep)
    }

    #[route]
    async fn result_alias(&self) -> Answer<Level> {
        Err(Refused::Asleep)
    }

    #[route]
    async fn result_alias_without_parameters(&self) -> Nothing {
        Err(Refused::Asleep)
    }

    #[route]
    async fn fmt_result(&self) -> Result<(), Wrapped> {
        Ok(fmt::Write::write_str(&mut String::new(), "…")?)
    }

    #[route]
    async fn opaque(&self) -> impl Serialize {
        [1, 2, 3]
    }

    #[route]
    async fn boxed(&self) -> Box<dyn erased::Anything> {
        Box::new(Level { level: 3 })
    }
}

struct Wrapped(fmt::Error);

impl From<fmt::Error> for Wrapped {
    fn from(error: fmt::Error) -> Self {
        Self(error)
    }
}

impl From<Wrapped> for kengine::Error {
    fn from(wrapped: Wrapped) -> Self {
        Self::internal(wrapped.0)
    }
}

mod erased {
    pub trait Anything: Send {
        fn number(&self) -> u32;
    }

    impl Anything for super::Level {
        fn number(&self) -> u32 {
            self.level
        }
    }

    impl serde::Serialize for dyn Anything {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_u32(self.number())
        }
    }
}
