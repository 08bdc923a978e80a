use kengine::{Connection, Push};

#[derive(serde::Serialize, Push)]
#[push("", later, latest(player, plyer, player))]
struct Position {
    player: u32,
}

fn send(connection: &Connection) {
    // Nothing else turns red.
    let _ = connection.send(&Position { player: 7 });
}

fn main() {}
