//! The password of Redis is not logged, not even if a server quotes the commands that it does not know.

use kengine_tests::{Log, RedisServer, TestServer, Town, until};
use tracing::Level;

#[tokio::test]
async fn the_password_of_redis_is_not_logged() {
    // A proxy or an old server may not know these commands.
    let redis = RedisServer::start_with(&["--rename-command", "AUTH", "", "--rename-command", "HELLO", ""]).await;
    let port = redis.port();
    for query in ["", "?protocol=resp3"] {
        let log = Log::start(Level::TRACE);
        let url = format!("redis://game:se%20cret@127.0.0.1:{port}/{query}");
        let node = TestServer::start(Town::node(&url, Town::IDLE_TIME)).await;
        for part in ["the directory is away", "the bus is away"] {
            until(part, async || log.text().contains(part).then_some(())).await;
        }
        node.stop().await;
        assert_eq!(log.lines_with("se cret"), [""; 0]);
    }
}
