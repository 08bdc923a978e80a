//! A node whose rooms have game loops: `loop_node <game> <address> <redis> <lease in milliseconds>`. The game is
//! `rally`, or `arena` for the example `arena_room`. The loops log to the file that `KENGINE_LOOP_LOG` names.

use std::{env, time::Duration};

use kengine::{Dispatcher, StartError, cluster::Redis};
use kengine_tests::{LIMIT, LoopLine, Rally, Town, without_rates};

#[path = "../../../examples/arena_room/game.rs"]
mod game;
#[path = "../../../examples/arena_room/arena.rs"]
mod rules;

/// What the example's dispatcher imports: the example's loop, which also logs what it does.
mod arena {
    use std::time::Duration;

    use kengine::{
        Uid,
        room::{GameLoop, LoopRoom, Start, Tick},
    };
    use kengine_tests::{LoopEvent, LoopLine};
    use serde::Deserialize;

    use crate::rules;
    pub(crate) use crate::rules::{Heading, Steer};

    pub(crate) struct Arena(rules::Arena);

    /// What the log contains of the state.
    #[derive(Deserialize)]
    struct Logged {
        step: u64,
    }

    impl Arena {
        /// Writes the line of a call that has ended.
        fn log(&self, line: LoopLine) {
            let state = serde_json::to_vec(&self.0).expect("JSON");
            let Logged { step } = serde_json::from_slice(&state).expect("a state with a step");
            line.write(step);
        }
    }

    impl GameLoop for Arena {
        type Message = Steer;
        type Reply = ();
        type Saved = rules::Arena;
        const TICK: Duration = rules::Arena::TICK;
        const LINGER: Duration = rules::Arena::LINGER;
        const SAVE_INTERVAL: Duration = rules::Arena::SAVE_INTERVAL;

        fn start(room: &LoopRoom<'_>, start: Start<rules::Arena>) -> Self {
            let line = LoopLine::new(room, LoopEvent::start(&start));
            let arena = Self(rules::Arena::start(room, start));
            arena.log(line);
            arena
        }

        fn joined(&mut self, room: &LoopRoom<'_>, player: &Uid) {
            self.0.joined(room, player);
        }

        fn left(&mut self, room: &LoopRoom<'_>, player: &Uid) {
            self.0.left(room, player);
        }

        fn message(&mut self, room: &LoopRoom<'_>, message: Steer) {
            self.0.message(room, message);
        }

        fn tick(&mut self, room: &LoopRoom<'_>, tick: Tick) {
            let line = LoopLine::new(room, LoopEvent::tick(&tick));
            self.0.tick(room, tick);
            self.log(line);
        }

        fn emptied(&mut self, room: &LoopRoom<'_>) {
            let line = LoopLine::new(room, LoopEvent::Emptied);
            self.0.emptied(room);
            self.log(line);
        }

        fn ended(&mut self, room: &LoopRoom<'_>) {
            self.0.ended(room);
        }

        fn save(&self) -> Option<rules::Arena> {
            self.0.save()
        }
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), StartError> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [game, address, redis, lease] = &arguments[..] else { panic!("loop_node <game> <address> <redis> <lease>") };
    LoopLine::log_to(env::var("KENGINE_LOOP_LOG").expect("a path"));
    let redis = Redis::new(redis).lease(Duration::from_millis(lease.parse().expect("milliseconds")));
    match &**game {
        "rally" => serve(Rally, redis, address).await,
        "arena" => serve(game::Game, redis, address).await,
        game => panic!("there is no game `{game}`"),
    }
}

async fn serve<D: Dispatcher>(game: D, redis: Redis, address: &str) -> Result<(), StartError> {
    let server = without_rates(game).cluster(redis).idle_timeout(Town::IDLE_TIME).handshake_timeout(LIMIT * 2);
    server.bind(address.to_owned()).await?.serve().await
}
