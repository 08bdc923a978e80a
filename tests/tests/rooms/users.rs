//! Users by uid: which connection holds a uid, sends to users, and kicks.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::future::join_all;
use kengine::{
    Close, CloseCode, Connection, DisconnectReason, Duplicates, Handshake, Hub, Push, Refusal, Server, Session, Uid,
    testing,
};
use kengine_tests::{ClientFrame, HttpClient, RawClient, TestServer, Upgrade, every_row, until, within};
use serde::Serialize;
use tokio::sync::Semaphore;

#[derive(Serialize, Push)]
struct Note(usize);

/// Returns the push as it is on the wire.
fn note(number: usize) -> String {
    format!(r#"{{"method":"note","message":{number}}}"#)
}

/// Takes the uid from a header field, and counts opened and closed connections.
#[derive(Clone)]
struct Club {
    greeted: Arc<Semaphore>,
    seen_off: Arc<Semaphore>,
    handled: Arc<AtomicUsize>,
}

impl Default for Club {
    fn default() -> Self {
        let [greeted, seen_off] = [(); 2].map(|()| Arc::new(Semaphore::new(0)));
        Self { greeted, seen_off, handled: Arc::default() }
    }
}

#[kengine::dispatcher]
impl Club {
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<Uid, Refusal> {
        if handshake.header("x-banned").is_some() {
            return Err(Refusal::forbidden("you are banned"));
        }
        Ok(Uid::new(handshake.header("x-uid").unwrap_or_default())?)
    }

    #[open]
    async fn greet(&self) {
        self.greeted.add_permits(1);
    }

    #[close]
    async fn see_off(&self, _reason: &DisconnectReason) {
        self.seen_off.add_permits(1);
    }

    #[route]
    async fn who(&self, uid: &Uid) -> String {
        self.handled.fetch_add(1, Ordering::SeqCst);
        uid.to_string()
    }

    /// Sends to all other connections.
    #[route]
    async fn shout(&self, hub: &Hub, connection: &Connection<Uid>, number: usize) -> kengine::Result<usize> {
        Ok(hub.all().except(connection).send(&Note(number))?)
    }
}

/// Waits until this many more connections have opened, or closed.
async fn happened(what: &Semaphore, count: u32) {
    within("hooks to run", what.acquire_many(count)).await.expect("never closed").forget();
}

async fn connect(server: &TestServer, uid: &str) -> RawClient {
    Upgrade::new(server.address()).and("x-uid", uid).open(server.address()).await
}

const WHO: &str = r#"{"method":"who","id":1}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_several_simultaneous_connections_of_a_uid_stays() {
    const ROUNDS: usize = 1000;
    let club = Club::default();
    let server = TestServer::start(Server::new(club.clone())).await;
    for round in 0..ROUNDS {
        let uid = round.to_string();
        let (mut one, mut other) = tokio::join!(connect(&server, &uid), connect(&server, &uid));
        let (stays, goes, first) = tokio::select! {
            first = one.frame() => (&mut other, &mut one, first),
            first = other.frame() => (&mut one, &mut other, first),
        };
        assert_eq!(first, "close 4500", "round {round}");
        // From here on, the hub knows only one of the two connections.
        let user = server.hub().user(&*uid);
        assert_eq!(user.connections(), 1, "round {round}");
        assert_eq!(user.send(&Note(round)).unwrap(), 1, "round {round}");
        assert_eq!(stays.frame().await, note(round), "round {round}");
        goes.answer_close(4500).await;
        // The end of the other connection does not remove the uid.
        stays.send_frames([ClientFrame::text(WHO)]).await;
        assert_eq!(stays.frame().await, format!("1: \"{uid}\""));
        assert_eq!(user.connections(), 1, "round {round}");
        stays.send_frames([ClientFrame::close(1000, "")]).await;
        assert_eq!(stays.transcript().await, ["close 1000", "end of TCP"]);
    }
    server.stop().await;
    // Each connection that stayed ran both hooks, and so did those that were replaced after the beginning of `#[open]`.
    let greeted = club.greeted.available_permits();
    assert!((ROUNDS..=2 * ROUNDS).contains(&greeted), "{greeted}");
    assert_eq!(club.seen_off.available_permits(), greeted);
}

#[tokio::test]
async fn a_newer_connection_replaces_the_older() {
    let club = Club::default();
    let server = TestServer::start(Server::new(club.clone())).await;
    let mut older = connect(&server, "ada").await;
    happened(&club.greeted, 1).await;
    for round in 0..20 {
        // A connection that is refused does not replace the older one.
        let banned = Upgrade::new(server.address()).and("x-uid", "ada").and("x-banned", "yes");
        assert_eq!(banned.ask(server.address()).await.status, 403);
        assert_eq!(server.hub().user("ada").send(&Note(round)).unwrap(), 1);
        assert_eq!(older.frame().await, note(round));

        let newer = connect(&server, "ada").await;
        happened(&club.greeted, 1).await;
        let close = older.next().await.expect("a close frame");
        assert_eq!(close.close(), Some((4500, "replaced by a newer connection")));
        older.answer_close(4500).await;
        happened(&club.seen_off, 1).await;
        older = newer;
    }
    drop(older);
    server.stop().await;
}

#[tokio::test]
async fn with_refuse_the_older_connection_stays() {
    let club = Club::default();
    let server = TestServer::start(Server::new(club.clone()).duplicates(Duplicates::Refuse)).await;
    let mut older = connect(&server, "ada").await;
    happened(&club.greeted, 1).await;
    for _ in 0..20 {
        let mut newer = connect(&server, "ada").await;
        newer.send_frames([ClientFrame::text(WHO)]).await;
        let close = newer.next().await.expect("a close frame");
        assert_eq!(close.close(), Some((4503, "already connected")));
        newer.answer_close(4503).await;
    }
    assert_eq!(server.hub().user("ada").send(&Note(1)).unwrap(), 1);
    assert_eq!(older.frame().await, note(1));
    older.send_frames([ClientFrame::close(1000, "")]).await;
    assert_eq!(older.transcript().await, ["close 1000", "end of TCP"]);
    // The hooks and handlers did not run for any of the refused connections.
    happened(&club.seen_off, 1).await;
    assert_eq!(club.greeted.available_permits(), 0);
    assert_eq!(club.seen_off.available_permits(), 0);
    assert_eq!(club.handled.load(Ordering::SeqCst), 0);
    within("the end of the older one", async {
        while server.hub().user("ada").connections() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut another = connect(&server, "ada").await;
    another.send_frames([ClientFrame::text(WHO)]).await;
    assert_eq!(another.frame().await, r#"1: "ada""#);
    drop(another);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_refuse_one_of_several_simultaneous_claims_stays() {
    const ROUNDS: usize = 300;
    let club = Club::default();
    let server = TestServer::start(Server::new(club.clone()).duplicates(Duplicates::Refuse)).await;
    for round in 0..ROUNDS {
        let uid = round.to_string();
        let mut clients = tokio::join!(connect(&server, &uid), connect(&server, &uid), connect(&server, &uid));
        let mut stay = 0;
        for client in [&mut clients.0, &mut clients.1, &mut clients.2] {
            client.send_frames([ClientFrame::text(WHO)]).await;
            match &*client.frame().await {
                "close 4503" => client.answer_close(4503).await,
                answer => {
                    assert_eq!(answer, format!("1: \"{uid}\""));
                    stay += 1;
                }
            }
        }
        assert_eq!(stay, 1, "round {round}");
        assert_eq!(server.hub().user(&*uid).connections(), 1, "round {round}");
    }
    assert_eq!(club.greeted.available_permits(), ROUNDS);
    server.stop().await;
}

#[tokio::test]
async fn with_allow_a_uid_has_several_connections() {
    let club = Club::default();
    let server = TestServer::start(Server::new(club.clone()).duplicates(Duplicates::Allow)).await;
    let (mut first, mut second) = (connect(&server, "ada").await, connect(&server, "ada").await);
    happened(&club.greeted, 2).await;
    let user = server.hub().user("ada");
    assert_eq!((user.connections(), user.send(&Note(1)).unwrap()), (2, 2));
    assert_eq!([first.frame().await, second.frame().await], [note(1), note(1)]);
    drop(first);
    happened(&club.seen_off, 1).await;
    within("the end of the first", async {
        while user.connections() > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(user.send(&Note(2)).unwrap(), 1);
    assert_eq!(second.frame().await, note(2));
    let mut third = connect(&server, "ada").await;
    happened(&club.greeted, 1).await;
    assert_eq!(user.kick(Close::new(CloseCode::KICKED, "both")), 2);
    for client in [&mut second, &mut third] {
        assert_eq!(client.next().await.expect("a close frame").close(), Some((4501, "both")));
        client.answer_close(4501).await;
    }
    happened(&club.seen_off, 2).await;
    drop((second, third));
    server.stop().await;
}

#[tokio::test]
async fn a_kicked_user_gets_earlier_pushes_and_the_reason() {
    const CHEATED: CloseCode = CloseCode::new(4510).unwrap();
    let club = Club::default();
    let server = TestServer::start(Server::new(club.clone())).await;
    let (mut ada, mut bob) = (connect(&server, "ada").await, connect(&server, "bob").await);
    happened(&club.greeted, 2).await;
    let user = server.hub().user("ada");
    for number in 0..100 {
        assert_eq!(user.send(&Note(number)).unwrap(), 1);
    }
    assert_eq!(user.kick(Close::new(CHEATED, "an aimbot")), 1);
    // The first close stands, and no push comes after it.
    assert_eq!(user.kick(Close::new(CloseCode::KICKED, "once more")), 0);
    assert_eq!(user.send(&Note(100)).unwrap(), 0);
    assert_eq!(user.connections(), 0);
    for number in 0..100 {
        assert_eq!(ada.frame().await, note(number));
    }
    assert_eq!(ada.next().await.expect("a close frame").close(), Some((4510, "an aimbot")));
    ada.answer_close(4510).await;
    assert_eq!(server.hub().user("nobody").kick(Close::new(CloseCode::KICKED, "")), 0);
    assert_eq!(server.hub().user("nobody").send(&Note(0)).unwrap(), 0);
    bob.send_frames([ClientFrame::text(WHO)]).await;
    assert_eq!(bob.frame().await, r#"1: "bob""#);
    drop((ada, bob));
    server.stop().await;
}

#[tokio::test]
async fn a_send_to_all_reaches_all_but_the_excluded() {
    let club = Club::default();
    let server = TestServer::start(Server::new(club.clone())).await;
    assert_eq!(server.hub().all().send(&Note(0)).unwrap(), 0);
    let names = ["ada", "bob", "eve"];
    let mut clients = Vec::new();
    for name in names {
        clients.push(connect(&server, name).await);
    }
    happened(&club.greeted, 3).await;
    assert_eq!(server.hub().all().send(&Note(1)).unwrap(), 3);
    let [ada, bob] = ["ada", "bob"].map(|name| Uid::new(name).unwrap());
    assert_eq!(server.hub().all().except(&ada).send(&Note(2)).unwrap(), 2);
    assert_eq!(server.hub().all().only(vec![ada.clone(), bob]).except(ada).send(&Note(3)).unwrap(), 1);
    assert_eq!(server.hub().all().only("bob").send(&Note(3)).unwrap(), 1);
    assert_eq!(server.hub().all().only("").send(&Note(5)).unwrap(), 0, "an invalid uid selects no user");
    clients[2].send_frames([ClientFrame::text(r#"{"method":"shout","message":4,"id":1}"#)]).await;
    for (client, expected) in clients.iter_mut().zip([&[1, 4][..], &[1, 2, 3, 3, 4], &[1, 2]]) {
        for number in expected {
            assert_eq!(client.frame().await, note(*number));
        }
    }
    assert_eq!(clients[2].frame().await, "1: 2");
    for client in &mut clients {
        client.heartbeat().await;
    }
    drop(clients);
    server.stop().await;
}

/// A session with a token that shows whether the session still exists.
#[derive(Clone)]
struct Kept {
    uid: u32,
    _token: Arc<()>,
}

impl Session for Kept {
    fn uid(&self) -> Option<Uid> {
        Some(self.uid.into())
    }

    fn anonymous() -> Option<Self> {
        Some(Self { uid: 0, _token: Arc::default() })
    }
}

struct Rooms;

#[kengine::dispatcher(session = Kept)]
impl Rooms {
    #[open]
    async fn greet(&self, hub: &Hub, connection: &Connection<Kept>) -> kengine::Result<()> {
        hub.room("inn").join(connection).with_presence().await?;
        hub.rooms("arena-").fill(9, connection).await?;
        connection.send(&Note(1))?;
        Ok(())
    }

    /// Waits for an answer that never comes.
    #[route]
    async fn ask(&self, connection: &Connection<Kept>) {
        let _ = connection.ask::<()>(&Note(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_kept_of_connections_that_ended() {
    for duplicates in [Duplicates::Replace, Duplicates::Refuse, Duplicates::Allow] {
        let rooms = testing::serve(Server::new(Rooms).duplicates(duplicates));
        let token = Arc::new(());
        let coming = (0..120).map(async |number| {
            let session = Kept { uid: number % 40, _token: Arc::clone(&token) };
            let mut client = rooms.connect_as(session).await.expect("a place");
            if number % 3 == 0 {
                client.notify("ask", &()).await;
            }
            client
        });
        let clients = join_all(coming).await;
        assert!(Arc::strong_count(&token) > 40, "{duplicates:?}");
        drop(clients);
        within("the end of all connections", rooms.emptied()).await;
        // The hub's count falls inside the last task, which drops its session only after that.
        within("the end of every session", async {
            while Arc::strong_count(&token) > 1 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(rooms.hub().rooms("").local_list(), [], "{duplicates:?}");
        assert_eq!(rooms.hub().queued_bytes(), 0, "{duplicates:?}");
    }
}

/// A dispatcher whose close hook waits for the test.
struct Reluctant {
    begun: Arc<Semaphore>,
    may_end: Arc<Semaphore>,
}

impl Reluctant {
    fn new() -> Self {
        let [begun, may_end] = [(); 2].map(|()| Arc::new(Semaphore::new(0)));
        Self { begun, may_end }
    }
}

#[kengine::dispatcher(session = Uid)]
impl Reluctant {
    #[close]
    async fn see_off(&self) {
        self.begun.add_permits(1);
        self.may_end.acquire().await.expect("never closed").forget();
    }

    #[route]
    async fn who(&self, uid: &Uid) -> String {
        uid.to_string()
    }
}

#[tokio::test]
async fn a_lost_connection_frees_its_uid_before_the_close_hook() {
    let club = testing::serve(Server::new(Reluctant::new()).duplicates(Duplicates::Refuse));
    let lost = club.connect_as(Uid::from(7)).await.unwrap();
    drop(lost);
    happened(&club.dispatcher().begun, 1).await;
    assert!(!club.hub().user("7").is_here());
    let ends = async {
        until("the uid", async || club.hub().user("7").is_here().then_some(())).await;
        club.dispatcher().may_end.add_permits(2);
    };
    let (back, ()) = tokio::join!(club.connect_as(Uid::from(7)), ends);
    assert_eq!(back.unwrap().request::<String>("who", &()).await.unwrap(), "7");
}

/// Takes the uid from the query, as the demos do.
struct Demo;

#[kengine::dispatcher]
impl Demo {
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<Uid, Refusal> {
        Ok(Uid::new(handshake.query("uid").unwrap_or_default())?)
    }

    #[route]
    async fn who(&self, uid: &Uid) -> String {
        uid.to_string()
    }
}

#[tokio::test]
async fn a_uid_has_1_to_128_bytes_and_no_control_character() {
    let rows = [
        ("one byte", ("x".to_owned(), true)),
        ("empty", (String::new(), false)),
        ("128 bytes", ("é".repeat(64), true)),
        ("129 bytes", ("x".repeat(129), false)),
        ("a space", ("ada lovelace".to_owned(), true)),
        ("a line feed", ("a\nb".to_owned(), false)),
        ("a carriage return", ("a\r".to_owned(), false)),
        ("an escape", ("\u{1b}[31m".to_owned(), false)),
        ("a null byte", ("a\0".to_owned(), false)),
        ("a C1 control character", ("a\u{85}b".to_owned(), false)),
        ("a line separator", ("a\u{2028}b".to_owned(), false)),
        ("a paragraph separator", ("a\u{2029}b".to_owned(), false)),
        ("the Arabic mark", ("a\u{61c}".to_owned(), false)),
        ("a left-to-right mark", ("\u{200e}ada".to_owned(), false)),
        ("a right-to-left mark", ("ada\u{200f}".to_owned(), false)),
        ("the first embedding", ("\u{202a}ada".to_owned(), false)),
        ("the last override", ("ada\u{202e}".to_owned(), false)),
        ("the first isolate", ("\u{2066}ada".to_owned(), false)),
        ("the last isolate", ("ada\u{2069}".to_owned(), false)),
        ("a hyphen before the separators", ("a\u{2027}b".to_owned(), true)),
        ("a space behind the overrides", ("a\u{202f}b".to_owned(), true)),
        ("a text from right to left", ("עדה".to_owned(), true)),
        ("an emoji with joiners", ("👩\u{200d}🚀".to_owned(), true)),
    ];
    let server = TestServer::start(Server::new(Demo)).await;
    every_row(rows, async |(text, is_good)| {
        assert_eq!(Uid::new(&text).is_ok(), is_good);
        assert_eq!(text.parse::<Uid>().is_ok(), is_good);
        let json = serde_json::to_string(&text).unwrap();
        assert_eq!(serde_json::from_str::<Uid>(&json).is_ok(), is_good);

        let escaped = text.bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat();
        let mut http = HttpClient::connect(server.address()).await;
        let upgrade = Upgrade::new(server.address()).path(format!("/ws?uid={escaped}"));
        let response = http.request(&upgrade.bytes()).await;
        assert_eq!(response.status, if is_good { 101 } else { 400 }, "{response:?}");
        if is_good {
            let answer = http.into_websocket().ask(r#"{"method":"who","id":1}"#).await;
            assert_eq!(answer, format!("1: {json}"));
        } else {
            assert_eq!(response.error_code(), "bad_request");
        }
    })
    .await;
    server.stop().await;
}
