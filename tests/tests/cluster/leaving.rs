//! A connection that ends leaves the whole cluster at once, although its socket lingers: its client hangs, and the
//! close timeout never ends.

use std::time::Duration;

use kengine::{Close, CloseCode, Duplicates};
use kengine_tests::{Client, RawClient, RedisServer, Said, TestServer, Town, Upgrade, every_row, until};

const LEASE: Duration = Duration::from_secs(6);

/// How the connection of Ada, who is on the first node, ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    KickOnItsNode,
    KickOnTheOtherNode,
    TooSlow,
    Replaced,
}

fn kicked() -> Close {
    Close::new(CloseCode::KICKED, "out")
}

fn presence(what: &str) -> String {
    format!(r#"{{"method":"{what}","message":{{"room":"lobby","uid":"ada"}}}}"#)
}

async fn watcher(server: &TestServer) -> Client {
    let mut watcher = Town::connect(server.address(), "bob").await;
    assert_eq!(watcher.ask(r#"{"method":"join_with_presence","message":"lobby","id":1}"#).await, "1: null");
    watcher
}

async fn hear(watcher: &mut Client, what: &str) {
    while watcher.next().await != presence(what) {}
}

async fn members(server: &TestServer) -> Vec<String> {
    server.hub().room("lobby").members().await.iter().map(|member| member.uid.to_string()).collect()
}

#[tokio::test]
async fn a_connection_leaves_the_cluster_the_moment_it_ends() {
    let rows = [
        ("kicked on its node", (How::KickOnItsNode, "close 4501")),
        ("kicked on the other node", (How::KickOnTheOtherNode, "close 4501")),
        ("too slow", (How::TooSlow, "close 4002")),
        ("replaced on the other node", (How::Replaced, "close 4500")),
    ];
    every_row(rows, async |(how, close)| {
        let redis = RedisServer::start().await;
        let mut directory = redis.directory().await;
        let duplicates = if how == How::Replaced { Duplicates::Replace } else { Duplicates::Refuse };
        let node = || Town::node(&redis.url(), LEASE).close_timeout(Duration::MAX).duplicates(duplicates);
        let (one, other) = (redis.serve(node()).await, redis.serve(node()).await);
        let mut bob = watcher(&other).await;
        let path = "/ws?uid=ada";
        let mut ada: RawClient = Upgrade::new(one.address()).path(path).open(one.address()).await;
        assert_eq!(ada.ask(r#"{"method":"join","message":"lobby","id":1}"#).await, "1: null");
        hear(&mut bob, "joined").await;
        directory.user_is("ada", Some(one.address().to_string())).await;
        assert_eq!(
            (members(&one).await, members(&other).await),
            (vec!["ada".into(), "bob".into()], vec!["ada".into(), "bob".into()])
        );

        let mut again = None;
        match how {
            How::KickOnItsNode => assert_eq!(one.hub().user("ada").kick(kicked()), 1),
            How::KickOnTheOtherNode => assert_eq!(other.hub().user("ada").kick(kicked()), 0),
            How::TooSlow => {
                let text = "x".repeat(1000);
                while one.hub().user("ada").send(&Said(text.clone())).unwrap() == 1 {
                    tokio::task::yield_now().await;
                }
            }
            How::Replaced => again = Some(Town::connect(other.address(), "ada").await),
        }
        hear(&mut bob, "left").await;
        assert_eq!((members(&one).await, members(&other).await), (vec!["bob".to_owned()], vec!["bob".to_owned()]));
        assert_eq!(one.hub().user("ada").connections(), 0);
        assert_eq!(one.hub().rooms("").local_list(), []);
        if again.is_none() {
            directory.user_is("ada", None).await;
            // Not refused because of the connection that has ended.
            again = Some(Town::connect(other.address(), "ada").await);
        }
        let mut again = again.expect("connected in either case");
        Town::join_lobby(&mut again).await;
        hear(&mut bob, "joined").await;
        directory.user_is("ada", Some(other.address().to_string())).await;
        assert_eq!(members(&one).await, ["ada", "bob"]);
        assert_eq!(one.hub().user("ada").send(&Said("home".into())).unwrap(), 0);
        assert_eq!(again.next().await, Said::text("home"), "a push to the user goes to the other node");
        // The socket that lingers still takes a slot of its node, and counts as its load.
        until("the load", async || (directory.count(one.address()).await == Some(1)).then_some(())).await;
        assert_eq!((one.hub().connections(), directory.load(one.address()).await), (1, Some(1)));

        while ada.frame().await != close {}
        ada.answer_close(1000).await;
        directory.count_is(one.address(), Some(0)).await;
        // The end of the socket takes nothing from the newer connection.
        assert!(again.answers_until(Town::FENCE).await.is_empty());
        assert_eq!(directory.user("ada").await, Some(other.address().to_string()));
        drop((again, bob));
        one.stop().await;
        other.stop().await;
    })
    .await;
}
