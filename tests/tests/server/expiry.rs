//! Sessions that expire: what the client and the game see of it, and how a route keeps them.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::Router;
use kengine::{
    Close, CloseCode, Connection, DisconnectReason, Error, ExtendError, Handshake, Refusal, Server, Session, Uid,
    testing::{self, Client},
};
use kengine_tests::{
    ClientFrame, Gate, Move, RawClient, TestServer, Upgrade, WANTED_PANIC, Watched, every_row, serve_router, within,
    without_rates,
};
use tokio::{net::TcpListener, sync::mpsc, task::yield_now, time::Instant};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
/// A time after which a session expires that a busy machine still opens before that.
const SOON: Duration = Duration::from_millis(1500);

/// A guest who may stay for some time.
struct Guest {
    uid: Option<Uid>,
    expires: Result<Option<SystemTime>, &'static str>,
}

impl Guest {
    fn until(expires: SystemTime) -> Self {
        Self { uid: None, expires: Ok(Some(expires)) }
    }
}

impl Session for Guest {
    fn uid(&self) -> Option<Uid> {
        self.uid.clone()
    }

    fn expires(&self) -> Option<SystemTime> {
        self.expires.unwrap_or_else(|panic| panic!("{panic}"))
    }
}

/// A club whose guests say in the query how long they may stay: `?uid=ada&for=1500`, in milliseconds.
#[derive(Clone)]
struct Club {
    ended: mpsc::UnboundedSender<DisconnectReason>,
    opened: Arc<AtomicU64>,
    gate: Gate,
    watched: Watched,
    guests: Arc<Mutex<Vec<Connection<Guest>>>>,
}

/// Why the connections of a club have ended.
struct Ended(mpsc::UnboundedReceiver<DisconnectReason>);

impl Ended {
    async fn next(&mut self) -> DisconnectReason {
        within("the end of a connection", self.0.recv()).await.expect("a club that is open")
    }
}

fn club() -> (Club, Ended) {
    let (ended, read) = mpsc::unbounded_channel();
    let club = Club {
        ended,
        opened: Arc::default(),
        gate: Gate::default(),
        watched: Watched::default(),
        guests: Arc::default(),
    };
    (club, Ended(read))
}

impl Club {
    fn guest(&self) -> Connection<Guest> {
        self.guests.lock().expect("no panic").last().expect("a guest").clone()
    }
}

#[kengine::dispatcher]
impl Club {
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<Guest, Refusal> {
        let uid = handshake.query("uid").and_then(|uid| Uid::new(uid).ok());
        let now = SystemTime::now();
        let expires = match handshake.query("for").as_deref() {
            None => Ok(None),
            Some("panic") => Err(WANTED_PANIC),
            Some("0") => Ok(Some(now)),
            Some("-1") => Ok(Some(SystemTime::UNIX_EPOCH)),
            Some(time) => Ok(Some(now + Duration::from_millis(time.parse().expect("milliseconds")))),
        };
        Ok(Guest { uid, expires })
    }

    #[open]
    async fn keep(&self, connection: &Connection<Guest>) {
        self.opened.fetch_add(1, Ordering::SeqCst);
        self.guests.lock().expect("no panic").push(connection.clone());
    }

    #[close]
    async fn note(&self, reason: &DisconnectReason) {
        // The test may have ended.
        let _ = self.ended.send(reason.clone());
    }

    /// Extends the session to this number of seconds from now on.
    #[route]
    async fn extend(&self, connection: &Connection<Guest>, seconds: u64) -> Result<(), Error> {
        Ok(connection.extend(SystemTime::now() + Duration::from_secs(seconds))?)
    }

    #[route]
    async fn here(&self) -> bool {
        true
    }

    /// Waits until the test opens the gate.
    #[route]
    async fn wait(&self) {
        self.watched.run(self.gate.pass()).await;
    }
}

fn request(server: SocketAddr, query: &str) -> Upgrade {
    Upgrade::new(server).path(format!("/ws?{query}"))
}

async fn connect(server: SocketAddr, query: &str) -> RawClient {
    request(server, query).open(server).await
}

/// Reads the close frame, which comes next, and answers it.
async fn told(client: &mut RawClient) -> (u16, String) {
    let frame = client.next().await.expect("a close frame");
    let (code, reason) = frame.close().unwrap_or_else(|| panic!("not a close frame: {frame}"));
    client.answer_close(code).await;
    (code, reason.to_owned())
}

fn expired() -> (u16, String) {
    (4003, "session expired".to_owned())
}

#[tokio::test]
async fn a_connection_is_closed_when_its_session_expires() {
    let (club, mut ended) = club();
    let server = TestServer::start(Server::new(club.clone()).endpoint("/second", club.clone())).await;
    let service = without_rates(club).into_service().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let mounted = listener.local_addr().expect("an address");
    let serving = serve_router(listener, Router::new().route_service("/ws", service.clone()));
    let (own, path) = (server.address(), |path: &str| format!("{path}?for={}", SOON.as_millis()));
    let rows = [
        ("the first endpoint", (own, path("/ws"))),
        ("another endpoint", (own, path("/second"))),
        ("a service", (mounted, path("/ws"))),
    ];
    every_row(rows, async |(address, path)| {
        let begun = SystemTime::now();
        let mut client = Upgrade::new(address).path(path).open(address).await;
        assert_eq!(client.ask(r#"{"method":"here"}"#).await, "true");
        assert_eq!(told(&mut client).await, expired());
        assert!(begun.elapsed().expect("a clock that goes on") >= SOON, "closed before its time");
    })
    .await;
    for _ in 0..3 {
        let reason = ended.next().await;
        assert_eq!((reason.code(), &reason), (Some(CloseCode::EXPIRED), &DisconnectReason::Expired));
        assert_eq!(reason.to_string(), "session expired");
    }
    service.drain().await;
    serving.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn a_session_that_has_expired_already_is_refused() {
    let (club, _ended) = club();
    let server = TestServer::start(Server::new(club.clone())).await;
    let address = server.address();
    let rows = [
        ("now", ("for=0", 401, "unauthorized", (4504, "unauthorized: session expired"))),
        ("long ago", ("for=-1", 401, "unauthorized", (4504, "unauthorized: session expired"))),
        ("a panic", ("for=panic", 500, "internal", (1011, "internal: internal error"))),
    ];
    every_row(rows, async |(query, status, code, close)| {
        let request = request(address, query);
        let response = request.ask(address).await;
        assert_eq!((response.status, response.error_code().as_str()), (status, code));
        let mut page = request.with("Origin", format!("http://{address}")).open(address).await;
        assert_eq!(told(&mut page).await, (close.0, close.1.to_owned()));
    })
    .await;
    assert_eq!(club.opened.load(Ordering::SeqCst), 0);
    server.emptied().await;
    server.stop().await;
}

/// The player who hangs has left for everybody else, as soon as the session expires.
#[tokio::test]
async fn a_client_that_hangs_is_out_when_its_session_expires() {
    let (club, mut ended) = club();
    let server = TestServer::start(Server::new(club.clone()).close_timeout(SECOND)).await;
    let mut hung = connect(server.address(), &format!("uid=ada&for={}", SOON.as_millis())).await;
    hung.heartbeat().await;
    let connection = club.guest();
    while connection.queued().unsent == 0 {
        connection.send(&Move::new(0, 1000)).expect("an outbox that is not full");
        yield_now().await;
    }
    assert_eq!(ended.next().await, DisconnectReason::Expired);
    assert!(!server.hub().user("ada").is_here());
    let mut next = connect(server.address(), "uid=ada").await;
    assert_eq!(next.ask(r#"{"method":"here"}"#).await, "true");
    drop(next);
    server.emptied().await;
    drop(hung);
    server.stop().await;
}

#[tokio::test]
async fn a_running_handler_finishes_without_an_answer() {
    let (club, mut ended) = club();
    let server = TestServer::start(Server::new(club.clone())).await;
    let mut client = connect(server.address(), &format!("for={}", SOON.as_millis())).await;
    let requests = [r#"{"method":"wait","id":1}"#, r#"{"method":"here","id":2}"#].map(ClientFrame::text);
    client.send_frames(requests).await;
    club.gate.arrived(1).await;
    assert_eq!(told(&mut client).await, expired());
    assert_eq!(client.frame().await, "end of TCP");
    assert!(!club.watched.has_ended());
    assert!(ended.0.try_recv().is_err(), "`#[close]` did not wait for the handler");
    club.gate.open(1);
    assert!(club.watched.finished().await, "the handler was cancelled");
    assert_eq!(ended.next().await, DisconnectReason::Expired);
    server.stop().await;
}

/// Returns the number of whole seconds that a client stays, at most this many.
async fn stays(client: &mut Client, at_most: u64) -> u64 {
    let begun = Instant::now();
    client.stay(Duration::from_secs(at_most)).await;
    begun.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn an_extended_session_lasts_longer() {
    let (club, mut ended) = club();
    let served = testing::serve(club);
    let mut client = served.connect("/ws?uid=ada&for=60000").await.unwrap();
    let connection = served.dispatcher().guest();
    let until = connection.expires().expect("a time");
    assert_eq!(Some(until), connection.session().expires());
    client.request::<()>("extend", &600).await.unwrap();
    let extended = connection.expires().expect("a time");
    assert!(extended > until);
    // An earlier time changes nothing.
    client.request::<()>("extend", &300).await.unwrap();
    assert_eq!(connection.expires(), Some(extended));
    assert_eq!(connection.uid().as_str(), "ada");
    assert_eq!(stays(&mut client, 599).await, 599);
    assert_eq!(client.request("here", &()).await, Ok(true));
    assert!(stays(&mut client, 10).await <= 2);
    let close = client.closed().await.unwrap();
    assert_eq!((close.code(), close.reason()), (CloseCode::EXPIRED, "session expired"));
    assert_eq!(ended.next().await, DisconnectReason::Expired);
    assert_eq!((connection.expires(), connection.extend(SystemTime::now() + HOUR)), (None, Err(ExtendError::Closed)));
    served.emptied().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_is_extended_only_to_a_time_in_the_future() {
    let served = testing::serve(club().0);
    let mut client = served.connect("/ws?for=60000").await.unwrap();
    let connection = served.dispatcher().guest();
    let until = connection.expires();
    for past in [SystemTime::UNIX_EPOCH, SystemTime::now() - SECOND] {
        assert_eq!(connection.extend(past), Err(ExtendError::Past));
    }
    // The node's time has gone on as tokio's clock has, and that of the test has not.
    assert_eq!(stays(&mut client, 30).await, 30);
    let failure = client.request::<()>("extend", &20).await.unwrap_err();
    assert_eq!(failure.code, "bad_request");
    assert_eq!(failure.message, "a session can only be extended to a time in the future");
    assert_eq!(connection.expires(), until);
    connection.close(Close::from(CloseCode::NORMAL));
    assert_eq!(connection.extend(SystemTime::now() + HOUR), Err(ExtendError::Closed));
    assert_eq!(connection.expires(), None);
    assert_eq!(client.closed().await.unwrap().code(), CloseCode::NORMAL);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_never_expires_stays() {
    let served = testing::serve(club().0);
    // The last time that every system has.
    let last = SystemTime::UNIX_EPOCH + Duration::from_secs(i64::MAX.unsigned_abs());
    let mut never = served.connect_as(Guest { uid: None, expires: Ok(None) }).await.unwrap();
    let connection = served.dispatcher().guest();
    connection.extend(SystemTime::now() + HOUR).unwrap();
    assert_eq!(connection.expires(), None);
    let mut latest = served.connect_as(Guest::until(last)).await.unwrap();
    let mut extended = served.connect_as(Guest::until(SystemTime::now() + HOUR)).await.unwrap();
    let connection = served.dispatcher().guest();
    connection.extend(last).unwrap();
    assert_eq!(connection.expires(), Some(last));
    let refused = served.connect_as(Guest::until(SystemTime::now() - SECOND)).await.unwrap_err();
    assert_eq!((refused.status(), refused.message()), (401, "session expired"));
    let hours = 5 * 3600;
    tokio::join!(stays(&mut never, hours), stays(&mut latest, hours), stays(&mut extended, hours));
    for client in [&mut never, &mut latest, &mut extended] {
        assert_eq!(client.request("here", &()).await, Ok(true));
    }
}

/// A player of a crowd, and how long after its beginning the session expires.
struct Member {
    number: usize,
    due: Duration,
    expires: SystemTime,
}

impl Session for Member {
    fn expires(&self) -> Option<SystemTime> {
        Some(self.expires)
    }
}

/// Notes by the number of each player how late the connection has ended.
struct Crowd {
    begun: Instant,
    late: Mutex<Vec<(usize, Duration)>>,
}

#[kengine::dispatcher(session = Member)]
impl Crowd {
    #[open]
    async fn extend(&self, connection: &Connection<Member>, member: &Member) -> kengine::Result<()> {
        if member.number.is_multiple_of(10) {
            connection.extend(member.expires + HOUR)?;
        }
        Ok(())
    }

    #[close]
    async fn note(&self, member: &Member, reason: &DisconnectReason) {
        assert_eq!(*reason, DisconnectReason::Expired);
        let late = self.begun.elapsed().checked_sub(member.due).expect("an end after its time");
        self.late.lock().expect("no panic").push((member.number, late));
    }

    #[route]
    async fn never(&self) {}
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_sessions_end_within_a_second_of_their_times() {
    const MEMBERS: usize = 10_000;
    let begun = Instant::now();
    // The system's time at which tokio's clock stands still. If a busy machine is interrupted here, it is too late.
    let paused = |_| {
        let ago = begun.into_std().elapsed();
        SystemTime::now() - ago
    };
    let start = (0..100).map(paused).min().expect("some");
    let crowd = Crowd { begun, late: Mutex::default() };
    let served = testing::serve(Server::new(crowd).max_connections(MEMBERS).idle_timeout(HOUR));
    let mut clients = Vec::new();
    for number in 0..MEMBERS {
        // In another order than that in which they come, and many at the same time.
        let due =
            10 * SECOND + Duration::from_millis(100) * u32::try_from(number * 7919 % 200).expect("a small number");
        clients.push(served.connect_as(Member { number, due, expires: start + due }).await.unwrap());
    }
    tokio::time::sleep_until(begun + 40 * SECOND).await;
    let late = served.dispatcher().late.lock().expect("no panic").clone();
    assert!(late.iter().all(|(number, _)| number % 10 != 0), "an extended session has ended");
    assert_eq!(late.len(), MEMBERS * 9 / 10);
    let latest = late.iter().map(|(_, late)| *late).max().expect("some");
    println!("the last of them ended {latest:?} after its time");
    assert!(latest < SECOND, "{latest:?}");
    assert_eq!(served.hub().connections(), MEMBERS / 10);
}
