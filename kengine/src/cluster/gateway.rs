//! The gateway: OpenResty, or nginx with `ngx_lua`, before the nodes of a cluster in Redis.
#![doc = include_str!("../../docs/gateway.md")]

use std::{
    fmt::Write,
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use redis::{ConnectionAddr, ConnectionInfo};

use crate::{cluster::redis::Redis, language::start_error::StartError};

const NGINX_CONF: &str = include_str!("../../openresty/nginx.conf");
const SETTINGS: &str = include_str!("../../openresty/settings.lua");
/// What is the same for every cluster.
const CODE: [(&str, &str); 3] = [
    ("kengine.lua", include_str!("../../openresty/kengine.lua")),
    ("pick.lua", include_str!("../../openresty/pick.lua")),
    ("room.lua", include_str!("../../openresty/room.lua")),
];
/// Where the configuration stands, as it is written in [`NGINX_CONF`].
const FOLDER: &str = "/etc/nginx/kengine";
/// Where Debian has the certificates that it trusts.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The configuration of a gateway, and its code: written into a folder, from which nginx is run.
///
/// ```
/// use kengine::cluster::{Redis, gateway::Gateway};
///
/// # fn main() -> Result<(), kengine::StartError> {
/// # let folder = std::env::temp_dir().join(format!("kengine-gateway-{}", std::process::id()));
/// let conf = Gateway::new(Redis::new("redis://10.0.0.2/").prefix("staging"))
///     .tls("/etc/nginx/tls/fullchain.pem", "/etc/nginx/tls/privkey.pem")
///     .write(&folder)?;
/// println!("nginx -c {}", conf.display());
/// # std::fs::remove_dir_all(folder).unwrap();
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a gateway is nothing until it is written"]
pub struct Gateway {
    redis: Redis,
    listen: Option<String>,
    tls: Option<(String, String)>,
    sockets: Vec<String>,
    pages: Vec<String>,
    uid: String,
    room: String,
    room_lifetime: Duration,
    resolver: Option<String>,
    authorities: String,
    idle: Duration,
    connections: u32,
    is_standalone: bool,
}

impl Gateway {
    /// A gateway to the cluster in this Redis: its URL and its prefix are taken. It listens on port 80 of every
    /// IPv4 address, and lets players through to `/ws` and the page at `/`.
    pub fn new(redis: impl Into<Redis>) -> Self {
        Self {
            redis: redis.into(),
            listen: None,
            tls: None,
            sockets: vec!["/ws".to_owned()],
            pages: vec!["/".to_owned()],
            uid: "uid".to_owned(),
            room: "room".to_owned(),
            room_lifetime: Duration::from_secs(10 * 60),
            resolver: None,
            authorities: AUTHORITIES.to_owned(),
            idle: Duration::from_secs(60),
            connections: 8192,
            is_standalone: false,
        }
    }

    /// Where it listens, as nginx writes it: `8080`, `10.0.0.1:80`, or `[::]:80 ipv6only=off` for IPv6 beside IPv4; port
    /// 80 unless it is said here, 443 under TLS.
    pub fn listen(self, address: impl Into<String>) -> Self {
        Self { listen: Some(address.into()), ..self }
    }

    /// Ends TLS with this certificate, with those of its authorities behind it, and its key: paths of files in PEM.
    pub fn tls(self, certificate: impl Into<String>, key: impl Into<String>) -> Self {
        Self { tls: Some((certificate.into(), key.into())), ..self }
    }

    /// The paths at which the nodes serve WebSockets: `/ws` unless others are said here.
    pub fn sockets(self, paths: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { sockets: paths.into_iter().map(Into::into).collect(), ..self }
    }

    /// The pages of the nodes that players may see: `/` unless others are said here. Whatever is not named, such as
    /// `/readyz`, is not found through the gateway.
    pub fn pages(self, paths: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { pages: paths.into_iter().map(Into::into).collect(), ..self }
    }

    /// The parameters of the query by which players meet on one node, `uid` and `room` unless others are said here: a
    /// user is sent to the node of the other connection of that uid, else to that of the room. It is a matter of where,
    /// not of who: nodes do not believe the query.
    pub fn affinity(self, uid: impl Into<String>, room: impl Into<String>) -> Self {
        Self { uid: uid.into(), room: room.into(), ..self }
    }

    /// How long a room stays with its node after somebody was last sent there: ten minutes unless it is said here. A
    /// name takes 0.1 KB of Redis for so long, whoever made it up.
    pub fn room_lifetime(self, lifetime: Duration) -> Self {
        Self { room_lifetime: lifetime, ..self }
    }

    /// Who resolves names, as nginx writes it (`127.0.0.11`, or `10.0.0.1 ipv6=off`): needed where Redis or the nodes are known by names, since
    /// nginx does not ask the system.
    pub fn resolver(self, address: impl Into<String>) -> Self {
        Self { resolver: Some(address.into()), ..self }
    }

    /// A file in PEM of the authorities by which Redis under TLS (`rediss://`) is believed: those that Debian trusts unless
    /// it is said here.
    pub fn authorities(self, path: impl Into<String>) -> Self {
        Self { authorities: path.into(), ..self }
    }

    /// The nodes' [idle time](crate::Server::idle_timeout), 60 s unless it is said here: a tunnel in which nothing moves for
    /// three quarters of it is closed, and so is a node's that does not answer a handshake; nodes ping after a third.
    pub fn idle_timeout(self, idle: Duration) -> Self {
        Self { idle, ..self }
    }

    /// How many players one of nginx' worker processes takes, of which there is one per core: 8,192 unless it is said
    /// here. Each takes two open files.
    pub fn max_connections(self, connections: u32) -> Self {
        Self { connections, ..self }
    }

    /// Keeps what nginx writes, its logs, temporary files and process id, in the same folder: for one that runs beside
    /// the system's own, or not as root.
    pub fn standalone(self) -> Self {
        Self { is_standalone: true, ..self }
    }

    /// Writes everything into a folder, which is made where it is missing, and returns the path of its `nginx.conf`.
    /// `settings.lua` there holds the password of Redis; nobody but its owner may read it.
    ///
    /// # Errors
    ///
    /// `gateway` when the folder cannot be written, or something cannot stand in a configuration of nginx; `redis` when
    /// the URL of Redis is none.
    pub fn write(&self, folder: impl AsRef<Path>) -> Result<PathBuf, StartError> {
        let made = fs::create_dir_all(&folder).and_then(|()| folder.as_ref().canonicalize());
        let folder = made.map_err(|error| unwritten(folder.as_ref(), error))?;
        let client = self.redis.client()?;
        let redis = client.get_connection_info();
        let conf = self.conf(&folder.to_string_lossy(), redis)?;
        let settings = self.settings(redis)?;
        let path = folder.join("nginx.conf");
        for (name, text) in CODE.into_iter().chain([("nginx.conf", &*conf)]) {
            let path = folder.join(name);
            fs::write(&path, text).map_err(|error| unwritten(&path, error))?;
        }
        let secret = folder.join("settings.lua");
        write_secret(&secret, &settings).map_err(|error| unwritten(&secret, error))?;
        Ok(path)
    }

    /// `nginx.conf`, as it stands in the repository but for what is this gateway's own.
    fn conf(&self, folder: &str, redis: &ConnectionInfo) -> Result<String, StartError> {
        let listen = self.listen.as_deref();
        let tls = self.tls.as_ref().map_or(["", ""], |(certificate, key)| [certificate, key]);
        // A path is one word.
        let words =
            [listen, self.resolver.as_deref()].into_iter().flatten().flat_map(|words| words.split(' '));
        let given = words.chain(tls).chain([folder, &self.authorities]);
        for value in given {
            if value.contains(|char: char| char.is_control() || " \"'\\;{}$#?".contains(char)) {
                return Err(StartError::gateway(format!(
                    "`{value}` cannot stand in a configuration of nginx"
                )));
            }
        }
        let mut conf = Conf(NGINX_CONF.to_owned());
        // Before anything of the user's, in which it is not to be replaced.
        if self.is_standalone {
            conf.put("pid /run/nginx.pid", &format!("pid {folder}/nginx.pid"));
            conf.put("/var/log/nginx/", &format!("{folder}/"));
            let mut folders = "http {\n".to_owned();
            for of in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
                // Writing to a string cannot fail.
                let _ = writeln!(folders, "    {of}_temp_path {folder}/{of};");
            }
            conf.put("http {\n", &folders);
        }
        conf.put(FOLDER, folder);
        if let Some((certificate, key)) = &self.tls {
            conf.put("        listen 80 backlog=4096 sndbuf=64k;\n", "");
            conf.put("# Under TLS, instead of the line above; without", "# Without");
            conf.put("# listen 443", "listen 443");
            conf.put(
                "# ssl_certificate     /etc/nginx/tls/fullchain.pem",
                &format!("ssl_certificate     {certificate}"),
            );
            conf.put(
                "# ssl_certificate_key /etc/nginx/tls/privkey.pem",
                &format!("ssl_certificate_key {key}"),
            );
            for directive in ["ssl_protocols", "ssl_session_cache", "ssl_session_tickets"] {
                conf.put(&format!("# {directive}"), directive);
            }
        }
        if let Some(address) = listen {
            let default = if self.tls.is_some() { "listen 443" } else { "listen 80" };
            conf.put(default, &format!("listen {address}"));
        }
        if let Some(resolver) = &self.resolver {
            conf.put("# resolver 127.0.0.53", &format!("resolver {resolver}"));
        }
        if matches!(redis.addr(), ConnectionAddr::TcpTls { .. }) {
            conf.put("# lua_ssl", "lua_ssl");
            conf.put(AUTHORITIES, &self.authorities);
        }
        let tunnel = self.idle.as_millis() * 3 / 4;
        conf.put("proxy_read_timeout 45s", &format!("proxy_read_timeout {tunnel}ms"));
        conf.put("proxy_send_timeout 45s", &format!("proxy_send_timeout {tunnel}ms"));
        let files = u64::from(self.connections) * 2;
        conf.put("worker_connections 16384", &format!("worker_connections {files}"));
        conf.put("worker_rlimit_nofile 16640", &format!("worker_rlimit_nofile {}", files + 256));
        Ok(conf.0)
    }

    /// `settings.lua`, with the comments that it has in the repository.
    fn settings(&self, redis: &ConnectionInfo) -> Result<String, StartError> {
        let mut at = match redis.addr() {
            ConnectionAddr::Tcp(host, port) => {
                format!("host = {}, port = {port}", Lua(self.host(host)?))
            }
            ConnectionAddr::TcpTls { host, insecure: false, .. } if host.parse::<IpAddr>().is_ok() => {
                let why = "nginx compares a certificate with a name, not with an address: write `rediss://` with a name";
                return Err(StartError::gateway(why));
            }
            ConnectionAddr::TcpTls { host, port, insecure, .. } => {
                let (at, name) = (Lua(self.host(host)?), Lua(host));
                format!("host = {at}, port = {port}, tls = {name}, verify = {}", !insecure)
            }
            ConnectionAddr::Unix(path) => format!("host = {}", Lua(&format!("unix:{}", path.display()))),
            _ => return Err(StartError::gateway("nginx cannot reach Redis by such a URL")),
        };
        let user = redis.redis_settings();
        for (name, value) in [("user", user.username()), ("password", user.password())] {
            if let Some(value) = value {
                let _ = write!(at, ", {name} = {}", Lua(value));
            }
        }
        if user.db() != 0 {
            let _ = write!(at, ", database = {}", user.db());
        }
        let mut settings = Conf(SETTINGS.to_owned());
        settings.put(r#"host = "127.0.0.1", port = 6379"#, &at);
        settings.put(r#"prefix = "kengine""#, &format!("prefix = {}", Lua(&self.redis.prefix)));
        settings.put(r#"sockets = { ["/ws"] = true }"#, &format!("sockets = {}", set(&self.sockets)?));
        settings.put(r#"pages = { ["/"] = true }"#, &format!("pages = {}", set(&self.pages)?));
        settings.put(r#"uid = "uid""#, &format!("uid = {}", Lua(&self.uid)));
        settings.put(r#"room = "room""#, &format!("room = {}", Lua(&self.room)));
        let lifetime = self.room_lifetime.as_millis().max(1);
        settings.put("room_lifetime = 600000", &format!("room_lifetime = {lifetime}"));
        Ok(settings.0)
    }

    /// A host as nginx finds it, which knows no names of the system's.
    fn host<'h>(&self, host: &'h str) -> Result<&'h str, StartError> {
        if host == "localhost" {
            Ok("127.0.0.1")
        } else if host.parse::<IpAddr>().is_ok() || self.resolver.is_some() {
            Ok(host)
        } else {
            let why =
                format!("Redis is known by a name, `{host}`: say who resolves it, by `Gateway::resolver`");
            Err(StartError::gateway(why))
        }
    }
}

fn unwritten(path: &Path, error: io::Error) -> StartError {
    let reason = format!("cannot write `{}`", path.display());
    StartError::Gateway { reason, source: Some(error) }
}

/// Writes what only the owner may read.
fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    #[cfg(unix)]
    // One that was there before may be anybody's to read.
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    io::Write::write_all(&mut file, text.as_bytes())
}

/// A text in which some of what stands is replaced.
struct Conf(String);

impl Conf {
    fn put(&mut self, stands: &str, instead: &str) {
        debug_assert!(self.0.contains(stands), "`{stands}` does not stand in this file of the gateway's");
        self.0 = self.0.replace(stands, instead);
    }
}

/// A text as Lua writes it.
struct Lua<'t>(&'t str);

impl std::fmt::Display for Lua<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_char('"')?;
        for char in self.0.chars() {
            match char {
                '"' | '\\' => write!(f, "\\{char}")?,
                _ if char.is_ascii_control() => write!(f, "\\{:03}", u32::from(char))?,
                _ => f.write_char(char)?,
            }
        }
        f.write_char('"')
    }
}

/// Paths, as a set in Lua.
fn set(paths: &[String]) -> Result<String, StartError> {
    // nginx sends it to the node as it stands here.
    let is_sent = |char: char| char.is_ascii_graphic() && !"?#%\"<>\\^`{|}".contains(char);
    if let Some(path) = paths.iter().find(|path| !path.starts_with('/') || !path.chars().all(is_sent)) {
        let why =
            format!("`{path}` is no path: write it from its `/` on, without a query or what a URL escapes");
        return Err(StartError::gateway(why));
    }
    let entries: Vec<_> = paths.iter().map(|path| format!("[{}] = true", Lua(path))).collect();
    Ok(format!("{{ {} }}", entries.join(", ")))
}

#[cfg(test)]
mod tests {
    use redis::IntoConnectionInfo;

    use super::*;

    /// Both files of a gateway whose Redis is at this URL.
    fn files(gateway: &Gateway, folder: &str, redis: &str) -> [String; 2] {
        let redis = redis.into_connection_info().expect("a URL");
        [gateway.conf(folder, &redis), gateway.settings(&redis)].map(|file| file.expect("no mistakes"))
    }

    #[test]
    fn everything_that_is_replaced_stands_there() {
        let gateway = Gateway::new("")
            .listen("8443")
            .tls("/tls/chain.pem", "/tls/key.pem")
            .resolver("10.0.0.1")
            .idle_timeout(Duration::from_secs(8))
            .max_connections(100)
            .standalone();
        let [conf, settings] = files(&gateway, "/srv/gate", "redis://ada:pa%22ss@db/3");
        assert!(
            !conf.contains(FOLDER) && !conf.contains("/var/log") && !conf.contains("listen 80"),
            "{conf}"
        );
        for line in ["listen 8443 ssl", "ssl_certificate_key /tls/key.pem", "proxy_read_timeout 6000ms"] {
            assert!(conf.lines().any(|given| given.trim().starts_with(line)), "{line} in {conf}");
        }
        let redis =
            r#"redis = { host = "db", port = 6379, user = "ada", password = "pa\"ss", database = 3 },"#;
        assert!(settings.contains(redis), "{settings}");
    }

    #[test]
    fn the_files_as_they_stand_are_those_of_the_defaults() {
        let [conf, settings] = files(&Gateway::new(""), FOLDER, "redis://127.0.0.1/");
        assert_eq!(conf.replace("45000ms", "45s"), NGINX_CONF);
        assert_eq!(settings, SETTINGS);
    }
}
