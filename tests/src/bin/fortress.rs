//! A node that hostile clients attack: `fortress <address> <largest message in bytes>`.

use std::env;

use kengine_tests::Fortress;

#[tokio::main]
async fn main() -> Result<(), kengine::StartError> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [address, largest] = &arguments[..] else { panic!("fortress <address> <largest message>") };
    let largest = largest.parse().expect("a number of bytes");
    Fortress::server().max_message_size(largest).bind(address.clone()).await?.serve().await
}
