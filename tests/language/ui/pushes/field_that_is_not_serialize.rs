struct Cell(u32);

#[derive(kengine::Push)]
#[push(latest(player, cell))]
struct Position {
    player: u32,
    cell: Cell,
}

impl serde::Serialize for Position {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.player)
    }
}

fn main() {}
