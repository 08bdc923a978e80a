#[derive(serde::Serialize, kengine::Push)]
enum Round {
    #[push("waiting")]
    Waiting {
        #[push]
        missing: u8,
    },
}

fn main() {}
