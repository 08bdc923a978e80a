//! The gateway: OpenResty, or nginx with `ngx_lua`, in front of the nodes of a cluster in Redis.
#![doc = include_str!("../../docs/gateway.md")]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;
use std::path::{self, Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use redis::{ConnectionAddr, ConnectionInfo};

use crate::cluster::redis::{DEFAULT_ROOM_LIFETIME, Redis};
use crate::http::Proxies;
use crate::protocol::StartError;

const NGINX_CONF: &str = include_str!("../../openresty/nginx.conf");
const SETTINGS: &str = include_str!("../../openresty/settings.lua");
/// The files that are the same for every cluster.
const CODE: [(&str, &str); 9] = [
    ("kengine.lua", include_str!("../../openresty/kengine.lua")),
    ("kengine_nodes.lua", include_str!("../../openresty/kengine_nodes.lua")),
    ("kengine_picker.lua", include_str!("../../openresty/kengine_picker.lua")),
    ("kengine_query.lua", include_str!("../../openresty/kengine_query.lua")),
    ("kengine_redis.lua", include_str!("../../openresty/kengine_redis.lua")),
    ("kengine_reservations.lua", include_str!("../../openresty/kengine_reservations.lua")),
    ("list.lua", include_str!("../../openresty/list.lua")),
    ("pick.lua", include_str!("../../openresty/pick.lua")),
    ("room.lua", include_str!("../../openresty/room.lua")),
];
/// The folder of the configuration, as written in [`NGINX_CONF`].
const FOLDER: &str = "/etc/nginx/kengine";
/// The certificate authorities that Debian trusts.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The addresses of this machine, which are not limited, as written in [`NGINX_CONF`].
const UNLIMITED: [&str; 2] = ["        127.0.0.0/8 1;\n", "        ::1/128     1;\n"];

/// The configuration of a gateway. It is written into a folder together with the gateway's code, and nginx runs from
/// there.
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
#[must_use = "call `write`"]
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
    idle_timeout: Duration,
    max_connections: u32,
    proxies: Proxies,
    max_connections_per_address: u16,
    max_requests_per_second_per_address: (u32, u32),
    max_reservations_per_address: u32,
    is_standalone: bool,
}

impl Gateway {
    /// Creates the configuration of a gateway to the cluster in this Redis. Only the URL and the prefix of `redis` are
    /// used. By default the gateway listens on port 80 of every IPv4 address, and passes on WebSockets at `/ws` and the
    /// page `/`.
    pub fn new(redis: impl Into<Redis>) -> Self {
        Self {
            redis: redis.into(),
            listen: None,
            tls: None,
            sockets: vec!["/ws".to_owned()],
            pages: vec!["/".to_owned()],
            uid: "uid".to_owned(),
            room: "room".to_owned(),
            room_lifetime: DEFAULT_ROOM_LIFETIME,
            resolver: None,
            authorities: AUTHORITIES.to_owned(),
            idle_timeout: Duration::from_secs(60),
            max_connections: 8192,
            proxies: Proxies::default(),
            max_connections_per_address: 256,
            max_requests_per_second_per_address: (20, 100),
            max_reservations_per_address: 64,
            is_standalone: false,
        }
    }

    /// Sets the address to listen on, in nginx's notation: `8080`, `10.0.0.1:80`, or `[::]:80 ipv6only=off` for IPv6
    /// and IPv4. The default is port 80 on every IPv4 address, or 443 with TLS.
    pub fn listen(self, address: impl Into<String>) -> Self {
        Self { listen: Some(address.into()), ..self }
    }

    /// Terminates TLS with a certificate and its key: the paths of two PEM files. The first contains the certificate,
    /// followed by the intermediate certificates.
    pub fn tls(self, certificate: impl Into<String>, key: impl Into<String>) -> Self {
        Self { tls: Some((certificate.into(), key.into())), ..self }
    }

    /// Sets the paths at which the nodes serve WebSockets. The default is `/ws`.
    pub fn sockets(self, paths: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { sockets: paths.into_iter().map(Into::into).collect(), ..self }
    }

    /// Sets the paths of the nodes' pages that players may see. The default is `/`. For any other path, such as
    /// `/readyz`, the gateway answers 404.
    pub fn pages(self, paths: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { pages: paths.into_iter().map(Into::into).collect(), ..self }
    }

    /// Sets the names of the query parameters that hold a player's uid and room. The defaults are `uid` and `room`. A
    /// player is sent to the node where the uid already has a connection, or else to the node of the room. These
    /// parameters only choose a node: they do not authenticate the player.
    pub fn affinity(self, uid: impl Into<String>, room: impl Into<String>) -> Self {
        Self { uid: uid.into(), room: room.into(), ..self }
    }

    /// Sets how long a room stays on its node after the last player was sent there. The default is 10 minutes. Until
    /// then the room takes 0.1 KB in Redis, even if a client has made up its name.
    pub fn room_lifetime(self, lifetime: Duration) -> Self {
        Self { room_lifetime: lifetime, ..self }
    }

    /// Sets the DNS server in nginx's notation, such as `127.0.0.11` or `10.0.0.1 ipv6=off`. It is required if Redis or
    /// the nodes have host names, because nginx does not use the system's resolver. There is no default.
    pub fn resolver(self, address: impl Into<String>) -> Self {
        Self { resolver: Some(address.into()), ..self }
    }

    /// Sets the PEM file of the certificate authorities that are trusted for Redis over TLS (`rediss://`). The default
    /// is `/etc/ssl/certs/ca-certificates.crt`, the file of the authorities that Debian trusts.
    pub fn authorities(self, path: impl Into<String>) -> Self {
        Self { authorities: path.into(), ..self }
    }

    /// Tells the gateway the nodes' [idle timeout](crate::Server::idle_timeout). The default is 60 s. Change both
    /// together. The gateway closes a tunnel without traffic after three quarters of this time, and waits equally long
    /// for a node's answer to a handshake. Nodes ping after a third of it.
    pub fn idle_timeout(self, timeout: Duration) -> Self {
        Self { idle_timeout: timeout, ..self }
    }

    /// Sets how many players one worker process of nginx takes. The default is 8,192. There is one worker per core, and
    /// each player takes two open files.
    pub fn max_connections(self, max: u32) -> Self {
        Self { max_connections: max, ..self }
    }

    /// Trusts these proxies in front of the gateway, given as addresses or networks, to report in `X-Forwarded-For`
    /// which address connected to them. That address then counts as the player's, for the limits below and for the
    /// nodes. By default no proxy is trusted, since a client can write anything into that field. Without this setting,
    /// all players behind a proxy share its limits.
    pub fn trusted_proxies(mut self, proxies: impl IntoIterator<Item = impl Into<String>>) -> Self {
        proxies.into_iter().for_each(|proxy| self.proxies.trust(&proxy.into()));
        self
    }

    /// Limits the number of connections of a client address. The default is 256. Further connections are refused with
    /// 429.
    ///
    /// For this limit and the next two, an IPv6 address stands for its /64 network. The gateway's own machine and
    /// [trusted proxies](Self::trusted_proxies) have no limits.
    pub fn max_connections_per_address(self, max: u16) -> Self {
        Self { max_connections_per_address: max, ..self }
    }

    /// Limits the requests of a client address, for WebSockets and pages: after `burst` requests at once, `rate` a
    /// second are let through. The default is 20 a second after a burst of 100. Further requests are refused with 429.
    pub fn max_requests_per_second_per_address(self, rate: u32, burst: u32) -> Self {
        Self { max_requests_per_second_per_address: (rate, burst), ..self }
    }

    /// Limits the seats that are reserved at the same time for requests of a client address. The default is 64. A seat
    /// is reserved until a node answers the request, or for 5 s if none does. Further requests are refused with
    /// 429.
    pub fn max_reservations_per_address(self, max: u32) -> Self {
        Self { max_reservations_per_address: max, ..self }
    }

    /// Keeps nginx's logs, temporary files and process id in the folder of the configuration, for an nginx that runs
    /// beside the system's or without root.
    pub fn standalone(self) -> Self {
        Self { is_standalone: true, ..self }
    }

    /// Writes all files into a folder, which is created if it does not exist, and returns the path of its `nginx.conf`.
    /// `settings.lua` contains the password of Redis, and is readable only by its owner.
    ///
    /// # Errors
    ///
    /// [`StartError::Gateway`] if the folder cannot be written or a value is not valid in nginx's configuration,
    /// [`StartError::Redis`] if the URL of Redis is invalid.
    pub fn write(&self, folder: impl AsRef<Path>) -> Result<PathBuf, StartError> {
        let folder = path::absolute(&folder).map_err(|error| cannot_write(folder.as_ref(), error))?;
        let client = self.redis.client()?;
        let redis = client.get_connection_info();
        let conf = self.nginx_conf(&folder.to_string_lossy(), redis)?;
        let settings = self.settings(redis)?;
        fs::create_dir_all(&folder).map_err(|error| cannot_write(&folder, error))?;
        let path = folder.join("nginx.conf");
        for (name, text) in CODE.into_iter().chain([("nginx.conf", &*conf)]) {
            let path = folder.join(name);
            fs::write(&path, text).map_err(|error| cannot_write(&path, error))?;
        }
        let secret = folder.join("settings.lua");
        write_secret(&secret, &settings).map_err(|error| cannot_write(&secret, error))?;
        Ok(path)
    }

    /// Returns the text of `nginx.conf`: the file in the repository with this gateway's values.
    fn nginx_conf(&self, folder: &str, redis: &ConnectionInfo) -> Result<String, StartError> {
        let tls = self.tls.as_ref().map_or(["", ""], |(certificate, key)| [certificate, key]);
        // `listen` and `resolver` may consist of several words; a path is one word.
        let words = [&self.listen, &self.resolver].into_iter().flatten().flat_map(|value| value.split(' '));
        let is_special = |char: char| char.is_control() || " \"'\\;{}$#?".contains(char);
        let mut values = words.chain(tls).chain([folder, &self.authorities]);
        if let Some(value) = values.find(|value| value.contains(is_special)) {
            return Err(StartError::gateway(format!("`{value}` is not valid in nginx's configuration")));
        }
        let mut conf = Template(NGINX_CONF.to_owned());
        // This comes first, so that it does not replace anything in the user's values.
        if self.is_standalone {
            conf.replace("pid /run/nginx.pid", &format!("pid {folder}/nginx.pid"));
            conf.replace("/var/log/nginx/", &format!("{folder}/"));
            let mut temp_paths = "http {\n".to_owned();
            for module in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
                // Writing to a string cannot fail.
                let _ = writeln!(temp_paths, "    {module}_temp_path {folder}/{module};");
            }
            conf.replace("http {\n", &temp_paths);
        }
        conf.replace(FOLDER, folder);
        if let Some((certificate, key)) = &self.tls {
            conf.replace("        listen 80 backlog=4096 sndbuf=64k;\n", "");
            conf.replace("# For TLS, use these lines instead of the line above. Do not", "# Do not");
            conf.replace("# listen 443", "listen 443");
            conf.replace("# ssl_", "ssl_");
            // Each path is replaced together with its directive, so that a path which equals the other
            // directive's example is not replaced.
            let directive = "ssl_certificate     ";
            conf.replace(&format!("{directive}/etc/nginx/tls/fullchain.pem;"), &format!("{directive}{certificate};"));
            conf.replace("ssl_certificate_key /etc/nginx/tls/privkey.pem;", &format!("ssl_certificate_key {key};"));
        }
        if let Some(address) = &self.listen {
            let default = if self.tls.is_some() { "listen 443" } else { "listen 80" };
            conf.replace(default, &format!("listen {address}"));
        }
        if let Some(resolver) = &self.resolver {
            conf.replace("# resolver 127.0.0.53", &format!("resolver {resolver}"));
        }
        if matches!(redis.addr(), ConnectionAddr::TcpTls { .. }) {
            conf.replace("# lua_ssl", "lua_ssl");
            conf.replace(AUTHORITIES, &self.authorities);
        }
        self.set_limits(&mut conf)?;
        let tunnel_timeout = self.idle_timeout.as_millis() * 3 / 4;
        for directive in ["proxy_read_timeout", "proxy_send_timeout"] {
            conf.replace(&format!("{directive} 45s"), &format!("{directive} {tunnel_timeout}ms"));
        }
        let files = u64::from(self.max_connections) * 2;
        conf.replace("worker_connections 16384", &format!("worker_connections {files}"));
        conf.replace("worker_rlimit_nofile 16640", &format!("worker_rlimit_nofile {}", files + 256));
        Ok(conf.0)
    }

    /// Writes the limits of a client address and the proxies into `nginx.conf`.
    fn set_limits(&self, conf: &mut Template) -> Result<(), StartError> {
        if let Some(mistake) = self.proxies.mistakes().first() {
            return Err(StartError::gateway(mistake));
        }
        let (rate, burst) = self.max_requests_per_second_per_address;
        let connections = self.max_connections_per_address;
        if [u32::from(connections), rate, burst, self.max_reservations_per_address].contains(&0) {
            return Err(StartError::gateway("a limit per address must be at least 1"));
        }
        conf.replace("limit_conn kengine_connections 256", &format!("limit_conn kengine_connections {connections}"));
        conf.replace("rate=20r/s", &format!("rate={rate}r/s"));
        conf.replace("burst=100", &format!("burst={burst}"));
        // nginx warns about a network that is given twice, and about one with bits behind its prefix.
        let proxies: BTreeSet<_> = self.proxies.networks().iter().map(|network| network.trunc().to_string()).collect();
        if proxies.is_empty() {
            return Ok(());
        }
        let (mut trusted, mut unlimited) = (String::new(), UNLIMITED.join(""));
        for proxy in proxies {
            // Writing to a string cannot fail.
            let _ = writeln!(trusted, "    set_real_ip_from {proxy};");
            if !UNLIMITED.iter().any(|line| line.trim().starts_with(&proxy)) {
                let _ = writeln!(unlimited, "        {proxy} 1;");
            }
        }
        conf.replace("    # set_real_ip_from 10.0.0.0/8;\n", &trusted);
        conf.replace("# real_ip_", "real_ip_");
        conf.replace(&UNLIMITED.join(""), &unlimited);
        Ok(())
    }

    /// Returns the text of `settings.lua`: the file in the repository with this gateway's values.
    fn settings(&self, redis: &ConnectionInfo) -> Result<String, StartError> {
        let mut server = match redis.addr() {
            ConnectionAddr::Tcp(host, port) => {
                format!("host = {}, port = {port}", LuaString(self.host(host)?))
            }
            ConnectionAddr::TcpTls { host, insecure: false, .. } if host.parse::<IpAddr>().is_ok() => {
                let reason = "nginx verifies a certificate by name, not by address: use a host name with `rediss://`";
                return Err(StartError::gateway(reason));
            }
            ConnectionAddr::TcpTls { host, port, insecure, .. } => {
                let (address, name) = (LuaString(self.host(host)?), LuaString(host));
                format!("host = {address}, port = {port}, tls = {name}, verify = {}", !insecure)
            }
            ConnectionAddr::Unix(path) => {
                format!("host = {}", LuaString(&format!("unix:{}", path.display())))
            }
            _ => {
                return Err(StartError::gateway("invalid Redis URL: nginx cannot connect to this kind of address"));
            }
        };
        let settings = redis.redis_settings();
        for (name, value) in [("user", settings.username()), ("password", settings.password())] {
            if let Some(value) = value {
                let _ = write!(server, ", {name} = {}", LuaString(value));
            }
        }
        if settings.db() != 0 {
            let _ = write!(server, ", database = {}", settings.db());
        }
        let mut settings = Template(SETTINGS.to_owned());
        settings.replace(r#"host = "127.0.0.1", port = 6379"#, &server);
        settings.replace(r#"prefix = "kengine""#, &format!("prefix = {}", LuaString(&self.redis.prefix)));
        settings.replace(r#"sockets = { ["/ws"] = true }"#, &format!("sockets = {}", lua_set(&self.sockets)?));
        settings.replace(r#"pages = { ["/"] = true }"#, &format!("pages = {}", lua_set(&self.pages)?));
        settings.replace(r#"uid = "uid""#, &format!("uid = {}", LuaString(&self.uid)));
        settings.replace(r#"room = "room""#, &format!("room = {}", LuaString(&self.room)));
        let lifetime = self.room_lifetime.as_millis().max(1);
        settings.replace("room_lifetime = 600000", &format!("room_lifetime = {lifetime}"));
        let reservations = format!("max_reservations_per_address = {}", self.max_reservations_per_address);
        settings.replace("max_reservations_per_address = 64", &reservations);
        Ok(settings.0)
    }

    /// Returns the host in a form that nginx can connect to. nginx does not read the system's host names
    /// (`/etc/hosts`).
    fn host<'h>(&self, host: &'h str) -> Result<&'h str, StartError> {
        if host == "localhost" {
            Ok("127.0.0.1")
        } else if host.parse::<IpAddr>().is_ok() || self.resolver.is_some() {
            Ok(host)
        } else {
            let reason = format!("nginx cannot resolve `{host}`: set a DNS server with `Gateway::resolver`");
            Err(StartError::gateway(reason))
        }
    }
}

fn cannot_write(path: &Path, error: io::Error) -> StartError {
    StartError::Gateway { reason: format!("cannot write `{}`", path.display()), source: Some(error) }
}

/// Writes a file that only its owner may read.
fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    #[cfg(unix)]
    // An existing file keeps its permissions when it is opened.
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    io::Write::write_all(&mut file, text.as_bytes())
}

/// A file in which defaults are replaced by this gateway's values.
struct Template(String);

impl Template {
    fn replace(&mut self, default: &str, value: &str) {
        debug_assert!(self.0.contains(default), "`{default}` is missing in the template");
        self.0 = self.0.replace(default, value);
    }
}

/// A text that is displayed as a Lua string literal.
struct LuaString<'t>(&'t str);

impl std::fmt::Display for LuaString<'_> {
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

/// Returns a set of paths as a Lua table.
fn lua_set(paths: &[String]) -> Result<String, StartError> {
    // nginx passes these characters to the node unchanged.
    let is_plain = |char: char| char.is_ascii_graphic() && !"?#%\"<>\\^`{|}".contains(char);
    if let Some(path) = paths.iter().find(|path| !path.starts_with('/') || !path.chars().all(is_plain)) {
        let reason = "begin it with `/`, and leave out a query and characters that URLs escape";
        return Err(StartError::gateway(format!("invalid path `{path}`: {reason}")));
    }
    let entries: Vec<_> = paths.iter().map(|path| format!("[{}] = true", LuaString(path))).collect();
    Ok(format!("{{ {} }}", entries.join(", ")))
}

#[cfg(test)]
mod tests {
    use redis::IntoConnectionInfo;

    use super::*;

    /// Returns both files of a gateway to the Redis at this URL.
    fn files(gateway: &Gateway, folder: &str, redis: &str) -> [String; 2] {
        let redis = redis.into_connection_info().expect("a valid URL");
        [gateway.nginx_conf(folder, &redis), gateway.settings(&redis)].map(|file| file.expect("valid values"))
    }

    #[test]
    fn every_value_replaces_a_default() {
        let gateway = Gateway::new("")
            .listen("8443")
            .tls("/tls/chain.pem", "/tls/key.pem")
            .resolver("10.0.0.1")
            .idle_timeout(Duration::from_secs(8))
            .max_connections(100)
            .trusted_proxies(["10.0.0.9/8", "127.0.0.0/8", "2001:db8::1", "10.1.2.3/8"])
            .max_connections_per_address(7)
            .max_requests_per_second_per_address(8, 9)
            .standalone();
        let [conf, settings] = files(&gateway, "/srv/gate", "redis://ada:pa%22ss@db/3");
        assert!(!conf.contains(FOLDER) && !conf.contains("/var/log") && !conf.contains("listen 80"), "{conf}");
        for line in [
            "listen 8443 ssl",
            "ssl_certificate_key /tls/key.pem",
            "proxy_read_timeout 6000ms",
            "set_real_ip_from 10.0.0.0/8;",
            "set_real_ip_from 127.0.0.0/8;",
            "set_real_ip_from 2001:db8::1/128;",
            "real_ip_header ",
            "real_ip_recursive on;",
            "10.0.0.0/8 1;",
            "127.0.0.0/8 1;",
            "2001:db8::1/128 1;",
            "limit_conn kengine_connections 7;",
            "limit_req_zone  $kengine_client zone=kengine_requests:10m rate=8r/s;",
            "limit_req zone=kengine_requests burst=9 nodelay;",
        ] {
            let given = conf.lines().filter(|given| given.trim().starts_with(line)).count();
            assert_eq!(given, 1, "{line} in {conf}");
        }
        let redis = r#"redis = { host = "db", port = 6379, user = "ada", password = "pa\"ss", database = 3 },"#;
        assert!(settings.contains(redis), "{settings}");
    }

    #[test]
    fn paths_of_tls_may_be_like_those_of_the_example() {
        let gateway = Gateway::new("").tls("/etc/nginx/tls/privkey.pem", "/etc/nginx/tls/fullchain.pem");
        let [conf, _] = files(&gateway, "/srv/gate", "redis://127.0.0.1/");
        assert!(conf.contains("        ssl_certificate     /etc/nginx/tls/privkey.pem;"), "{conf}");
        assert!(conf.contains("        ssl_certificate_key /etc/nginx/tls/fullchain.pem;"), "{conf}");
    }

    #[test]
    fn every_file_in_the_repository_is_written() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("openresty");
        let files = fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").file_name());
        let mut files: Vec<_> = files.map(|name| name.into_string().expect("UTF-8")).collect();
        files.sort();
        let mut written: Vec<_> = CODE.map(|(name, _)| name).into();
        written.extend(["nginx.conf", "settings.lua"]);
        written.sort_unstable();
        assert_eq!(files, written);
    }

    #[test]
    fn the_defaults_give_the_files_in_the_repository() {
        let [conf, settings] = files(&Gateway::new(""), FOLDER, "redis://127.0.0.1/");
        assert_eq!(conf.replace("45000ms", "45s"), NGINX_CONF);
        assert_eq!(settings, SETTINGS);
    }
}
