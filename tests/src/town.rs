//! A game whose players meet across nodes, and the nodes that serve it.

use std::{
    fs::{self, File, Permissions},
    net::{SocketAddr, TcpListener},
    ops::Range,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use kengine::{Connection, Error, Handshake, Hub, Push, Refusal, Server, Session, Uid, cluster::Redis, room::WhenAway};
use rustix::{
    fs::{FlockOperation, flock},
    process::Signal,
};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpStream, time::sleep};

use crate::{Client, signal, within, without_rates};

/// The push that players receive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Push)]
pub struct Said(pub String);

impl Said {
    /// Returns its text on the wire.
    pub fn text(text: impl std::fmt::Display) -> String {
        format!(r#"{{"method":"said","message":"{text}"}}"#)
    }
}

/// The session: the uid that the query claims, or a guest.
#[derive(Debug)]
pub struct Player(Option<Uid>);

impl Player {
    /// Reads the uid from the query.
    pub(crate) fn of(handshake: &Handshake) -> Result<Self, Refusal> {
        Ok(Self(handshake.query("uid").map(Uid::new).transpose()?))
    }
}

impl Session for Player {
    fn uid(&self) -> Option<Uid> {
        self.0.clone()
    }
}

/// A game whose players meet in rooms. Their uid is the one in the query.
#[derive(Clone, Copy, Debug)]
pub struct Town;

impl Town {
    /// The idle timeout of its nodes: longer than any test, since clients of tests do not answer pings while they wait.
    pub const IDLE_TIME: Duration = Duration::from_secs(600);
    /// A request that is answered whatever happens to the cluster; its id is `"fence"`.
    pub const FENCE: &'static str = r#"{"method":"leave","message":"nowhere","id":"fence"}"#;

    /// Returns a node of a cluster in Redis.
    pub fn node(redis: &str, lease: Duration) -> Server<Self> {
        without_rates(Self).cluster(Redis::new(redis).lease(lease)).idle_timeout(Self::IDLE_TIME)
    }

    /// Connects as this user.
    pub async fn connect(address: SocketAddr, uid: impl std::fmt::Display) -> Client {
        Client::connect_to(address, &format!("/ws?uid={uid}")).await
    }

    /// Joins the room `lobby`.
    pub async fn join_lobby(player: &mut Client) {
        assert_eq!(player.ask(r#"{"method":"join","message":"lobby","id":1}"#).await, "1: null");
    }

    /// Connects as this user, and joins the room `lobby`.
    pub async fn enter_lobby(address: SocketAddr, uid: impl std::fmt::Display) -> Client {
        let mut player = Self::connect(address, uid).await;
        Self::join_lobby(&mut player).await;
        player
    }
}

#[kengine::dispatcher]
impl Town {
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<Player, Refusal> {
        Player::of(handshake)
    }

    #[route]
    async fn join(&self, hub: &Hub, connection: &Connection<Player>, room: String) -> Result<(), Error> {
        Ok(hub.room(room).join(connection).await?)
    }

    #[route]
    async fn join_with_presence(&self, hub: &Hub, connection: &Connection<Player>, room: String) -> Result<(), Error> {
        Ok(hub.room(room).join(connection).with_presence().await?)
    }

    /// Takes one of the seats of a room.
    #[route]
    async fn sit(
        &self,
        hub: &Hub,
        connection: &Connection<Player>,
        (room, seats): (String, usize),
    ) -> Result<(), Error> {
        Ok(hub.room(room).join(connection).seats(seats).await?)
    }

    /// Takes a seat, of this node alone if Redis is away.
    #[route]
    async fn sit_anyway(
        &self,
        hub: &Hub,
        connection: &Connection<Player>,
        (room, seats): (String, usize),
    ) -> Result<(), Error> {
        Ok(hub.room(room).join(connection).seats(seats).when_away(WhenAway::Local).await?)
    }

    /// Takes a seat in any room with this prefix. Returns the room and the node that hosts it, if that is another one.
    #[route]
    async fn fill(
        &self,
        hub: &Hub,
        connection: &Connection<Player>,
        (prefix, seats): (String, usize),
    ) -> Result<(String, Option<String>), Error> {
        let room = hub.rooms(prefix).fill(seats, connection).await?;
        Ok((room.name().to_owned(), room.host().map(str::to_owned)))
    }

    /// Like `fill`, on this node alone if Redis is away. Returns the room.
    #[route]
    async fn fill_anyway(
        &self,
        hub: &Hub,
        connection: &Connection<Player>,
        (prefix, seats): (String, usize),
    ) -> Result<String, Error> {
        let room = hub.rooms(prefix).fill(seats, connection).when_away(WhenAway::Local).await?;
        Ok(room.name().to_owned())
    }

    /// Takes a seat in this room, which others fill. Returns the same as `fill`.
    #[route]
    async fn fill_again(
        &self,
        hub: &Hub,
        connection: &Connection<Player>,
        (prefix, seats, room): (String, usize, String),
    ) -> Result<(String, Option<String>), Error> {
        let room = hub.rooms(prefix).fill(seats, connection).in_room(room).await?;
        Ok((room.name().to_owned(), room.host().map(str::to_owned)))
    }

    #[route]
    async fn leave(&self, hub: &Hub, connection: &Connection<Player>, room: String) -> bool {
        hub.room(room).leave(connection)
    }

    /// Sends to the room; returns how many members on this node received it.
    #[route]
    async fn say(
        &self,
        hub: &Hub,
        connection: &Connection<Player>,
        (room, text): (String, String),
    ) -> Result<usize, Error> {
        Ok(hub.room(room).except(connection).send(&Said(text))?)
    }

    #[route]
    async fn tell(&self, hub: &Hub, (uid, text): (String, String)) -> Result<usize, Error> {
        Ok(hub.user(uid).send(&Said(text))?)
    }

    #[route]
    async fn who(&self, hub: &Hub, room: String) -> Vec<String> {
        hub.room(room).members().await.iter().map(|member| member.uid.to_string()).collect()
    }

    /// Returns the process that serves the player.
    #[route]
    async fn process(&self) -> u32 {
        std::process::id()
    }
}

/// A node in a process of its own, which a test may kill. It is killed when this is dropped.
#[derive(Debug)]
pub struct NodeProcess {
    address: SocketAddr,
    child: Child,
}

impl NodeProcess {
    /// Starts the program `node` of these tests (`env!("CARGO_BIN_EXE_node")`), and waits until it listens.
    pub async fn start(program: &str, address: SocketAddr, redis: &str, lease: Duration) -> Self {
        Self::start_from(Command::new(Path::new(program)), address, redis, lease).await
    }

    /// Like [`NodeProcess::start`], from a prepared command.
    pub async fn start_from(mut command: Command, address: SocketAddr, redis: &str, lease: Duration) -> Self {
        command.arg(address.to_string()).arg(redis).arg(lease.as_millis().to_string());
        Self::spawn(command, address).await
    }

    /// Runs a command that serves at this address, and waits until it listens.
    pub async fn spawn(mut command: Command, address: SocketAddr) -> Self {
        let child = command.stdout(Stdio::null()).spawn().expect("it starts");
        let mut node = Self { address, child };
        let listens = async {
            while TcpStream::connect(address).await.is_err() {
                assert!(node.child.try_wait().expect("a process of ours").is_none(), "it ended");
                sleep(Duration::from_millis(5)).await;
            }
        };
        within("a node that listens", listens).await;
        node
    }

    /// Returns the address at which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns its process, as the route `process` does.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns its resident memory in bytes.
    #[cfg(target_os = "linux")]
    pub fn resident(&self) -> usize {
        crate::resident_memory(&self.pid().to_string())
    }

    /// Returns how many files it has open.
    #[cfg(target_os = "linux")]
    pub fn open_files(&self) -> usize {
        crate::open_files(self.pid())
    }

    /// Kills it, as `kill -9` does, and waits until it has ended.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Freezes the process.
    pub fn freeze(&self) {
        signal(self.child.id(), Signal::STOP);
    }

    /// Lets the process go on.
    pub fn thaw(&self) {
        signal(self.child.id(), Signal::CONT);
    }

    /// Sends it SIGTERM, so that it drains.
    pub fn terminate(&self) {
        signal(self.child.id(), Signal::TERM);
    }

    /// Waits until it has ended.
    pub async fn ended(mut self) {
        let ended = async {
            while self.child.try_wait().expect("a process of ours").is_none() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        within("the end of a node", ended).await;
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns an address of this machine at which nothing listens. No other call returns it, in this process or in another
/// one, as long as this process lives. So a node may be down for a moment and come back at its address. The kernel does
/// not give these ports to other sockets meanwhile, since its range starts at 32,768.
pub fn free_address() -> SocketAddr {
    const PORTS: Range<u32> = 10_000..32_000;
    /// The distance between the first ports that two successive processes try.
    const STRIDE: u32 = 101;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    for _ in PORTS {
        let number = TAKEN.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id().wrapping_mul(STRIDE));
        let port = PORTS.start + number % (PORTS.end - PORTS.start);
        let port = u16::try_from(port).expect("a port");
        let Some(lock) = lock(port) else { continue };
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            // The kernel releases the lock at the end of the process.
            std::mem::forget(lock);
            return listener.local_addr().expect("it listens");
        }
    }
    panic!("no port is free");
}

/// Keeps a port from other processes of these tests, unless one of them has it. The file stays, because a process could
/// lock it while another one removes it.
fn lock(port: u16) -> Option<File> {
    let folder = std::env::temp_dir().join("kengine-ports");
    if fs::create_dir(&folder).is_ok() {
        // Processes of other users lock ports here, too.
        let _ = fs::set_permissions(&folder, Permissions::from_mode(0o777));
    }
    let path = folder.join(port.to_string());
    // A file of another user can be locked, but not created again.
    let file = File::open(&path).or_else(|_| File::create(&path)).ok()?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    Some(file)
}
