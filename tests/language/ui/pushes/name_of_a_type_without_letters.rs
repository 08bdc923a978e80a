#[derive(serde::Serialize, kengine::Push)]
#[push(reliable)]
struct __;

fn main() {}
