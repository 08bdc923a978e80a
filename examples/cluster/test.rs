//! Tests the program: commands and players, through pipes and in a terminal.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{self, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use kengine_examples::program;
use redis::AsyncCommands;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdin, ChildStdout, Command},
    time::{sleep, timeout},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use crate::terminal::Terminal;

mod terminal;

/// How long a test waits for each event before it fails.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A running cluster without a terminal.
struct Run {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    folder: PathBuf,
    /// The address of its gateway, and the URL of its Redis.
    gateway: String,
    redis: String,
}

impl Run {
    async fn start(test: &str, nodes: &str) -> Self {
        let folder = empty_folder(test);
        let mut command = Command::new(cluster());
        command.args(["--nodes", nodes, "--listen", "127.0.0.1:0"]).env("TMPDIR", &folder).kill_on_drop(true);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let output = BufReader::new(output).lines();
        let mut run = Self { child, input, output, folder, gateway: String::new(), redis: String::new() };
        let line = run.until("redis://").await;
        let between = |start: &str, end: &str| {
            line.split_once(start).and_then(|(_, rest)| rest.split(end).next()).unwrap().to_owned()
        };
        run.gateway = between("http://", "/");
        run.redis = format!("redis://{}/", between("redis://", "/"));
        run
    }

    /// Waits for a line that contains this text.
    async fn until(&mut self, part: &str) -> String {
        let mut seen = Vec::new();
        loop {
            let line = timeout(TEST_TIMEOUT, self.output.next_line()).await;
            let Ok(Ok(Some(line))) = line else { panic!("no `{part}` in\n{}", seen.join("\n")) };
            if line.contains(part) {
                return line;
            }
            seen.push(line);
        }
    }

    /// Waits until the table shows a node in this state, and returns its address.
    async fn node(&mut self, number: usize, state: &str) -> String {
        loop {
            let line = self.until(&format!("  {state}  ")).await;
            let mut cells = line.split_whitespace();
            if cells.next().is_some_and(|cell| cell == number.to_string()) {
                return cells.next().unwrap().to_owned();
            }
        }
    }

    async fn press(&mut self, keys: &str) {
        self.input.write_all(format!("{keys}\n").as_bytes()).await.unwrap();
    }

    fn interrupt(&self) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw).unwrap();
        kill_process(pid, Signal::INT).unwrap();
    }

    /// Waits until the program has ended, checks that nothing of it is left, and returns its exit code.
    async fn ended(mut self, nodes: &[String]) -> Option<i32> {
        let status = timeout(TEST_TIMEOUT, self.child.wait()).await.unwrap().unwrap();
        let redis = self.redis.trim_start_matches("redis://").trim_end_matches('/');
        for address in nodes.iter().map(String::as_str).chain([redis, &self.gateway]) {
            assert!(TcpStream::connect(address).await.is_err(), "{address} still listens");
        }
        assert_eq!(fs::read_dir(&self.folder).unwrap().count(), 0, "files are left");
        status.code()
    }

    /// Connects a player through the gateway.
    async fn enter(&self, name: &str) -> Player {
        let (socket, _) = connect_async(format!("ws://{}/ws?uid={name}", self.gateway)).await.unwrap();
        let mut player = Player(socket);
        player.send("join", json!({ "room": "lobby" })).await;
        player.hears(&[r#""id":1"#]).await;
        player
    }

    /// Waits until a player is on one of these nodes other than `from`, and returns the number of that node.
    async fn node_of(&self, name: &str, nodes: &[String], from: usize) -> usize {
        let client = redis::Client::open(&*self.redis).unwrap();
        let mut redis = client.get_multiplexed_async_connection().await.unwrap();
        let found = async {
            loop {
                let address: Option<String> = redis.hget(format!("kengine:user:{name}"), "address").await.unwrap();
                let number = 1 + nodes.iter().take_while(|node| Some(*node) != address.as_ref()).count();
                if number <= nodes.len() && number != from {
                    return number;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(TEST_TIMEOUT, found).await.unwrap()
    }
}

/// A player who uses an independent WebSocket client.
struct Player(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Player {
    async fn send(&mut self, method: &str, message: serde_json::Value) {
        let message = json!({ "method": method, "message": message, "id": 1 });
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    /// Waits for a message that contains all of these texts.
    async fn hears(&mut self, parts: &[&str]) {
        loop {
            let Ok(Some(Ok(message))) = timeout(TEST_TIMEOUT, self.0.next()).await else {
                panic!("no message contains {parts:?}")
            };
            if message.to_text().is_ok_and(|text| parts.iter().all(|part| text.contains(part))) {
                return;
            }
        }
    }

    /// Waits until the connection has ended, and returns the code of its close frame, if any.
    async fn closed(mut self) -> Option<u16> {
        let mut code = None;
        while let Some(Ok(message)) = timeout(TEST_TIMEOUT, self.0.next()).await.unwrap() {
            if let Message::Close(Some(close)) = message {
                code = Some(close.code.into());
            }
        }
        code
    }
}

#[tokio::test]
async fn players_chat_while_nodes_are_drained_and_killed() {
    let mut run = Run::start("pipes", "3").await;
    run.until("3 accepting").await;
    let mut stream = TcpStream::connect(&run.gateway).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: chat.example\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut page = String::new();
    timeout(TEST_TIMEOUT, stream.read_to_string(&mut page)).await.unwrap().unwrap();
    assert!(page.starts_with("HTTP/1.1 200 ") && page.contains("<title>"), "{page:.200}");

    run.press("a").await;
    let mut nodes = Vec::new();
    run.until("4 accepting").await;
    run.press("x 1").await;
    run.until("unknown command `x 1`").await;
    run.press("k 7").await;
    run.until("no node 7 runs").await;
    let mut ada = run.enter("ada").await;
    for number in 1..=4 {
        nodes.push(run.node(number, "ready").await);
    }
    let mut bob = run.enter("bob").await;
    ada.send("chat", json!({ "greeting": "hello" })).await;
    bob.hears(&["hello", "ada"]).await;

    // A drained node closes its connections, and the players reconnect to other nodes.
    let drained = run.node_of("ada", &nodes, 0).await;
    let stays = run.node_of("bob", &nodes, 0).await != drained;
    run.press(&format!("d {drained}")).await;
    assert_eq!(ada.closed().await, Some(4000));
    let mut ada = run.enter("ada").await;
    run.node_of("ada", &nodes, drained).await;
    run.until(&format!("node {drained} drains")).await;
    run.until(&format!("node {drained} is gone")).await;
    run.node(drained, "gone").await;
    if !stays {
        assert_eq!(bob.closed().await, Some(4000));
        bob = run.enter("bob").await;
    }
    bob.send("chat", json!({ "greeting": "welcome back" })).await;
    ada.hears(&["welcome back", "bob"]).await;

    // A killed node sends no close frame. Its players reconnect to other nodes although it is still in the directory.
    let killed = run.node_of("bob", &nodes, 0).await;
    run.press(&format!("k {killed}")).await;
    assert_eq!(bob.closed().await, None);
    let bob = run.enter("bob").await;
    run.node_of("bob", &nodes, killed).await;
    run.until(&format!("node {killed} is killed; its lease ends in ")).await;
    run.node(killed, "killed").await;
    run.until(&format!("node {killed} is out of the directory")).await;

    run.interrupt();
    assert_eq!(tokio::join!(ada.closed(), bob.closed()), (Some(4000), Some(4000)));
    run.until("all nodes drain").await;
    run.until("nothing is left running").await;
    assert_eq!(run.ended(&nodes).await, Some(0));
}

#[tokio::test]
async fn second_interrupt_kills_the_nodes() {
    let mut run = Run::start("impatience", "1").await;
    let node = run.node(1, "ready").await;
    // A player who does not answer the close frame delays the drain.
    let _player = run.enter("ada").await;
    run.interrupt();
    run.node(1, "draining").await;
    run.interrupt();
    run.until("node 1 is killed").await;
    assert_eq!(run.ended(&[node]).await, Some(1));
}

#[test]
fn terminal_shows_a_table() {
    let folder = empty_folder("terminal");
    let mut terminal = Terminal::open(80, 24);
    assert!(terminal.is_cooked());
    let mut child = start_in(&terminal, &folder);
    terminal.until(&["▸ 1 127.0.0.1:", "ready", " s"]);
    terminal.until(&[" k kill "]);
    assert!(terminal.is_taken && !terminal.is_cooked());
    let header = terminal.until(&["load"]);
    assert_eq!(header.trim_end(), "  # address         state     load   players reserved capacity msg/s rooms lease");

    terminal.press("a");
    terminal.until(&["2 127.0.0.1:", "ready"]);
    // The key Down.
    terminal.press("\x1b[B");
    terminal.until(&["▸ 2 127.0.0.1:", "ready"]);
    terminal.press("k");
    terminal.until(&["▸ 2 127.0.0.1:", "killed"]);
    terminal.until(&["1 accepting"]);

    terminal.resize(140, 40);
    let wide = terminal.until(&[" kengine ", "redis://"]);
    assert_eq!(wide.trim_end().chars().count(), 140, "{wide}");

    // Ctrl-C.
    terminal.press("\x03");
    terminal.until(&["nothing is left running"]);
    assert_eq!(exit_code(&mut child), Some(0));
    assert!(!terminal.is_taken && terminal.is_cooked());
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "files are left");
}

#[test]
fn program_ends_cleanly_when_its_terminal_closes() {
    let folder = empty_folder("hangup");
    let mut terminal = Terminal::open(80, 24);
    let mut child = start_in(&terminal, &folder);
    terminal.until(&["1 accepting"]);
    drop(terminal);
    // With this exit code, neither a signal nor a panic has ended the program.
    assert_eq!(exit_code(&mut child), Some(1));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "files are left");
}

#[test]
fn missing_programs_are_reported_in_one_line() {
    let rows = [
        ("/modules-enabled/d", "nginx lacks its Lua module (libnginx-mod-http-lua)"),
        (
            "s/init_by_lua_block {/& package.preload['nginx.redis'] = error package.preload['resty.redis'] = error /",
            "nginx lacks a Redis client for Lua (lua-nginx-redis)",
        ),
    ];
    let programs = empty_folder("programs");
    let folder = empty_folder("missing");
    let nginx = programs.join("nginx");
    let path = std::env::var("PATH").unwrap();
    let run = |path: String| {
        let run = process::Command::new(cluster())
            .args(["--listen", "127.0.0.1:0"])
            .env("TMPDIR", &folder)
            .env("PATH", path)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!((run.status.code(), run.stdout.len()), (Some(1), 0));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "files are left");
        String::from_utf8(run.stderr).unwrap()
    };
    let install = "apt-get install nginx libnginx-mod-http-lua lua-nginx-redis redis-server\n";
    for (change, missing) in rows {
        // The real nginx, with a configuration that lacks a module.
        let script = format!("#!/bin/sh\nsed -i \"{change}\" \"$2\"\nPATH=${{PATH#*:}}:/usr/sbin exec nginx \"$@\"\n");
        fs::write(&nginx, script).unwrap();
        fs::set_permissions(&nginx, fs::Permissions::from_mode(0o755)).unwrap();
        let said = run(format!("{}:{path}", programs.display()));
        assert_eq!(said, format!("cluster: {missing}: {install}"));
    }
    assert_eq!(run(programs.display().to_string()), format!("cluster: `redis-server` is missing: {install}"));
}

/// Starts a cluster of one node in a terminal.
fn start_in(terminal: &Terminal, folder: &Path) -> process::Child {
    let mut command = process::Command::new(cluster());
    command.args(["--nodes", "1", "--listen", "127.0.0.1:0"]).env("TMPDIR", folder);
    command.stdin(terminal.stdio()).stdout(terminal.stdio()).stderr(terminal.stdio()).spawn().unwrap()
}

/// Waits until the program has ended, and returns its exit code.
fn exit_code(child: &mut process::Child) -> Option<i32> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if begun.elapsed() > TEST_TIMEOUT {
            child.kill().unwrap();
            panic!("the program does not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Returns an empty folder for a test.
fn empty_folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cluster").join(test);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Returns the path of the program. If requirements are missing, tries to install them, at most once per process.
fn cluster() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = program("cluster");
        let missing = || {
            let mut command = process::Command::new(&program);
            command.args(["--nodes", "1", "--listen", "127.0.0.1:0"]).stdin(Stdio::piped());
            let mut run = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            // If something is missing, the program does not read this.
            let _ = run.stdin.take().unwrap().write_all(b"q\n");
            String::from_utf8(run.wait_with_output().unwrap().stderr).unwrap()
        };
        if let Some((_, install)) = missing().split_once("apt-get install ") {
            let install = format!("apt-get update -qq && apt-get install -y -qq {install}");
            let _ = process::Command::new("sh").args(["-c", &install]).stdout(Stdio::null()).status();
        }
        assert_eq!(missing(), "", "these tests need the requirements of the example");
        program
    })
}
