use kengine::{Connection, Push};

#[derive(serde::Serialize, Push)]
#[push("", later, latest(player, plyer, player))]
struct Position {
    player: u32,
}

fn send(connection: &Connection) {
    // No further errors are reported.
    let _ = connection.send(&Position { player: 7 });
}

fn main() {}
