struct Game;

#[kengine::dispatcher]
pub async fn chat() {}

fn main() {}
