//! The files in `examples/deploy` and the page `deploying` agree with the sources and with what the programs do.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use kengine::{Server, cluster::gateway::Gateway};
use kengine_tests::{Certificate, Client, Folder, Lobby, TestServer, Upgrade, free_address, nginx, until};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(workspace().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn dockerfile() -> String {
    read("examples/deploy/Dockerfile").replace("\\\n", " ")
}

/// Returns what follows a text in each line that contains it, up to the end of the line.
fn after<'t>(text: &'t str, word: &str) -> impl Iterator<Item = &'t str> {
    text.lines().filter_map(move |line| line.split_once(word)).map(|(_, rest)| rest.trim())
}

fn number(text: &str) -> u64 {
    let digits = text.trim().split(|char: char| !char.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no number at the start of {text}"))
}

#[test]
fn the_images_copy_files_that_exist() {
    let dockerfile = dockerfile();
    let copied: Vec<_> = after(&dockerfile, "COPY ")
        .filter(|files| !files.starts_with("--from"))
        .flat_map(|files| files.split(' ').rev().skip(1).collect::<Vec<_>>())
        .collect();
    for file in &copied {
        assert!(workspace().join(file).exists(), "{file} is copied, but does not exist");
    }
    let manifest = read("Cargo.toml");
    let members = after(&manifest, "members = [").next().expect("members").trim_end_matches(']');
    for member in members.split(", ").map(|member| member.trim_matches('"')) {
        let is_copied = copied.iter().any(|folder| Path::new(member).starts_with(folder));
        assert!(is_copied, "cargo needs {member}, which is not copied");
    }
    let examples = read("examples/Cargo.toml");
    let built: Vec<_> = dockerfile.split("--example ").skip(1).filter_map(|rest| rest.split(' ').next()).collect();
    assert_eq!(built, ["chat", "gateway"]);
    for example in built {
        assert!(
            examples.contains(&format!("[[example]]\nname = \"{example}\"")),
            "{example} is built, but does not exist"
        );
    }
    let oldest = after(&manifest, "rust-version = ").next().expect("a version").trim_matches('"');
    let compiler = after(&dockerfile, "FROM rust:").next().expect("a compiler");
    let minor = |version: &str| number(version.split('.').nth(1).expect("a version"));
    assert!(minor(compiler) >= minor(oldest), "the image has Rust {compiler}, but the workspace needs {oldest}");
}

#[test]
fn the_gateway_image_has_the_documented_packages() {
    let page = read("kengine/docs/gateway.md");
    let named = after(&page, "(Debian: `").next().and_then(|rest| rest.split('`').next()).expect("packages");
    for file in [dockerfile(), read("kengine/docs/deploying.md")] {
        assert!(file.contains(&format!(" {named} ca-certificates")), "{named}");
    }
}

/// Returns the names of environment variables in a text: the words in capitals that contain an underscore, except those
/// that glibc reads.
fn variables(text: &str) -> BTreeSet<&str> {
    let words = text.split(|char: char| char != '_' && !char.is_ascii_uppercase());
    words.filter(|word| word.contains('_') && !word.starts_with("MALLOC_")).collect()
}

#[test]
fn every_variable_is_read_by_its_program() {
    let compose = read("examples/deploy/compose.yaml");
    let (node, gateway) = compose.split_once("\n  gateway:").expect("a gateway");
    let dockerfile = dockerfile();
    let (image, _) = dockerfile.split_once(" AS gateway").expect("two images");
    let unit = read("examples/deploy/kengine-node@.service");
    let started = after(&unit, "ExecStart=").next().expect("a command");
    let environment = read("examples/deploy/node.env");
    let chat = read("examples/chat/main.rs");
    for text in [node, image, started, &environment] {
        let (set, read) = (variables(text), variables(&chat));
        assert!(!set.is_empty() && set.is_subset(&read), "{set:?} are set, and {read:?} are read");
    }
    assert!(started.contains("${ADDRESS}") && environment.contains("\nADDRESS="), "the unit does not set the address");
    assert_eq!(variables(gateway), variables(&read("examples/gateway/main.rs")));
}

#[test]
fn every_stop_timeout_is_longer_than_the_drain() {
    let server = format!("{:?}", Server::new(Lobby));
    let drain = server.split_once("drain_timeout: ").map(|(_, rest)| number(rest)).expect("the drain's time");
    // `#[close]` may take another second, and leaving the directory three.
    let longest = drain + 4;
    for (file, setting) in [
        ("examples/deploy/compose.yaml", "stop_grace_period: "),
        ("examples/deploy/kengine-node@.service", "TimeoutStopSec="),
        ("kengine/docs/deploying.md", "terminationGracePeriodSeconds: "),
        ("kengine/docs/deploying.md", "TimeoutStopSec="),
        ("kengine/docs/deploying.md", "stop_grace_period: "),
    ] {
        let text = read(file);
        let waits: Vec<_> = after(&text, setting).map(number).collect();
        assert!(!waits.is_empty() && waits.iter().all(|&wait| wait > longest), "{setting}{waits:?} in {file}");
    }
    assert!(read("kengine/docs/deploying.md").contains(&format!("longer than the drain, {longest} s")));
}

#[test]
fn the_limits_of_open_files_suffice() {
    let unit = read("examples/deploy/kengine-node@.service");
    let compose = read("examples/deploy/compose.yaml");
    let files = after(&unit, "LimitNOFILE=").next().map(number);
    // A node opens 256 files besides its 100,000 connections.
    assert_eq!(files, Some(100_000 + 256));
    let folder = Folder::new();
    let conf = Gateway::new("redis://127.0.0.1/").write(&folder).expect("a folder of ours");
    let conf = fs::read_to_string(conf).expect("it was written");
    // In a container, nginx cannot raise its limit.
    let needed = after(&conf, "worker_rlimit_nofile ").next().map(number).expect("a limit");
    let given: Vec<_> = after(&compose, "nofile: ").map(number).collect();
    assert!(given.len() == 2 && given.iter().all(|&files| files >= needed), "{given:?}, {needed}");
}

#[test]
fn systemd_accepts_the_unit_without_a_warning() {
    let unit = workspace().join("examples/deploy/kengine-node@.service");
    let Ok(verified) = Command::new("systemd-analyze").args(["--man=no", "verify"]).arg(unit).output() else {
        // This machine has no systemd.
        return;
    };
    let output = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && !output.contains("kengine-node@"), "{output}");
}

/// An nginx in one process, which is killed when this is dropped.
struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_player_reaches_a_node_through_a_plain_nginx() {
    let node = TestServer::start(Server::new(Lobby)).await;
    let certificate = Certificate::new();
    let (plain, tls, folder) = (free_address(), free_address(), Folder::new());
    let at = folder.display().to_string();
    let site = read("examples/deploy/one-node.conf")
        .replace("listen 443 ssl;", &format!("listen {tls} ssl; listen {plain};"))
        .replace("/etc/nginx/tls/fullchain.pem", &certificate.path("cert.pem"))
        .replace("/etc/nginx/tls/privkey.pem", &certificate.path("key.pem"))
        .replace("/var/log/nginx", &at)
        .replace("127.0.0.1:8000", &node.address().to_string());
    let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|of| format!("{of}_temp_path {at}/{of};"));
    let conf = folder.join("nginx.conf");
    let whole = format!(
        "daemon off; master_process off; pid {at}/pid; error_log {at}/start.log; events {{}}\nhttp {{ {}\n{site} }}",
        folders.concat(),
    );
    fs::write(&conf, whole).expect("a folder of ours");
    let mut nginx = Nginx(nginx(&conf).stderr(Stdio::null()).spawn().expect("nginx starts"));
    until("nginx that listens", async || {
        let ended = nginx.0.try_wait().expect("a process of ours").is_some();
        assert!(!ended, "nginx ended: {:?}", fs::read_to_string(folder.join("start.log")));
        tokio::net::TcpStream::connect(plain).await.ok()
    })
    .await;

    let mut client = Client::connect_to(plain, "/ws?token=secret").await;
    assert_eq!(client.ask(Lobby::request(1, "x")).await, Lobby::answer(1, "x"));
    // A browser sends the origin of the page, here one of the same host.
    let upgrade = Upgrade::new(plain);
    let page = upgrade.clone().with("Origin", format!("http://{plain}"));
    assert_eq!(page.ask(plain).await.status, 101);
    let other = upgrade.clone().with("Origin", "http://other.example");
    assert_eq!(other.ask(plain).await.status, 403);
    assert_eq!(upgrade.path("/readyz").ask(plain).await.status, 404, "`/readyz` is not for players");
    client.close(1000).await;
    let log = until("the end of both tunnels in the log", async || {
        let log = fs::read_to_string(folder.join("access.log")).expect("a log");
        (log.matches("\" 101 ").count() == 2).then_some(log)
    })
    .await;
    assert!(!log.contains("secret"), "{log}");
}
