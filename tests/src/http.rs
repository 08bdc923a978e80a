//! An HTTP/1.1 client without a library, so that tests decide every byte of a request.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::{End, RawClient, within};

/// The size of the kernel's receive buffer in bytes.
const RECEIVE_BUFFER: u32 = 16 * 1024;

/// Connects from one of this machine's addresses. On Linux, these are all addresses of 127.0.0.0/8. The receive buffer
/// is small, so that the server soon notices a client that does not read.
pub async fn connect_from(client: Ipv4Addr, server: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(RECEIVE_BUFFER).expect("a socket");
    socket.bind(SocketAddr::new(IpAddr::V4(client), 0)).expect("an address of this machine");
    within("a connection", socket.connect(server)).await.expect("a server that listens")
}

/// An HTTP connection.
#[derive(Debug)]
pub struct HttpClient {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// A response of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status.
    pub status: u16,
    /// The header fields: names, in lower case, and values.
    pub fields: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl HttpResponse {
    /// Returns the value of a header field, which must not occur twice.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_str());
        let value = values.next();
        assert_eq!(values.next(), None, "`{name}` occurs twice in {self:?}");
        value
    }

    /// Returns the code of an error, whose body must be exactly `{"error":{"code":…,"message":…}}` in JSON.
    pub fn error_code(&self) -> String {
        assert_eq!(self.field("content-type"), Some("application/json"), "{self:?}");
        let short = crate::summary(&self.body);
        short.strip_prefix("error ").unwrap_or_else(|| panic!("not an error's body: {self:?}")).to_owned()
    }
}

impl HttpClient {
    /// Connects to this address.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await.expect("a server that listens");
        Self::over(stream)
    }

    /// Makes a client of an open connection.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a TCP socket");
        Self { stream, unread: Vec::new() }
    }

    /// Writes bytes at once.
    pub async fn send(&mut self, bytes: &[u8]) {
        within("a write", self.stream.write_all(bytes)).await.expect("a server that reads");
    }

    /// Writes bytes at once to a server that may have ended the connection, and ignores a failure.
    pub async fn try_send(&mut self, bytes: &[u8]) {
        let _ = within("a write", self.stream.write_all(bytes)).await;
    }

    /// Closes the writing side; reading goes on.
    pub async fn stop_writing(&mut self) {
        // A server that has ended the connection does not mind.
        let _ = self.stream.shutdown().await;
    }

    /// Sends a request and reads the response.
    pub async fn request(&mut self, request: &[u8]) -> HttpResponse {
        self.send(request).await;
        self.response(request.starts_with(b"HEAD ")).await
    }

    /// Sends a request and reads the response; returns `None` if the server ends the connection instead.
    pub async fn try_request(&mut self, request: &[u8]) -> Option<HttpResponse> {
        let sent = within("a write", self.stream.write_all(request)).await;
        if sent.is_err() || within("a response", self.stream.read_buf(&mut self.unread)).await.unwrap_or(0) == 0 {
            return None;
        }
        Some(self.response(request.starts_with(b"HEAD ")).await)
    }

    /// Reads a response. A response to HEAD has no body, whatever its `content-length` is.
    pub async fn response(&mut self, to_head: bool) -> HttpResponse {
        self.next(to_head).await.unwrap_or_else(|end| panic!("no response, but the {end}"))
    }

    /// Like [`HttpClient::response`].
    ///
    /// # Errors
    ///
    /// Returns the end of the connection, if no response comes before it.
    pub async fn next(&mut self, to_head: bool) -> Result<HttpResponse, End> {
        let header_end = loop {
            if let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            let read = within("a response", self.stream.read_buf(&mut self.unread)).await;
            if read.as_ref().is_ok_and(|read| *read > 0) {
                continue;
            }
            assert!(self.unread.is_empty(), "TCP ended inside a response: {:?}", String::from_utf8_lossy(&self.unread));
            return match read {
                Ok(_) => Err(End::Closed),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(End::Reset),
                Err(error) => panic!("while a response was awaited: {error}"),
            };
        };
        let header: Vec<u8> = self.unread.drain(..header_end).collect();
        let header = String::from_utf8(header).expect("a header in ASCII");
        let mut lines = header.trim_end().split("\r\n");
        let status_line = lines.next().expect("a status line");
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("not a status line: {status_line}"));
        let field = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("not a header field: {line}"));
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        let mut response = HttpResponse { status, fields: lines.map(field).collect(), body: String::new() };
        let length = response.field("content-length").map_or(0, |length| length.parse().expect("a number"));
        if !to_head && status != 101 {
            while self.unread.len() < length {
                assert!(self.read().await > 0, "a body of {length} bytes ends early");
            }
            let body = self.unread.drain(..length).collect();
            response.body = String::from_utf8(body).expect("a body in UTF-8");
        }
        Ok(response)
    }

    /// Reads to the end of TCP and returns everything that came before it.
    pub async fn rest(mut self) -> Vec<u8> {
        while self.read().await > 0 {}
        self.unread
    }

    /// Returns the WebSocket connection after a `101`.
    pub fn into_websocket(self) -> RawClient {
        RawClient::new(self.stream, self.unread)
    }

    async fn read(&mut self) -> usize {
        let mut piece = [0; 4096];
        let read = within("a response", self.stream.read(&mut piece)).await.expect("a server that answers");
        self.unread.extend(&piece[..read]);
        read
    }
}

/// A request for a WebSocket, valid unless a method changes that.
#[derive(Clone, Debug)]
pub struct Upgrade {
    method: &'static str,
    path: String,
    version: &'static str,
    fields: Vec<(String, String)>,
}

impl Upgrade {
    /// The key of the RFC's example (section 1.3).
    pub const KEY: &'static str = "dGhlIHNhbXBsZSBub25jZQ==";
    /// The answer to that key.
    pub const ACCEPT: &'static str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    /// Makes the request that a browser would make, but without an origin.
    pub fn new(address: SocketAddr) -> Self {
        let fields = [
            ("Host", address.to_string().as_str()),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", Self::KEY),
            ("Sec-WebSocket-Version", "13"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { method: "GET", path: "/ws".to_owned(), version: "HTTP/1.1", fields: fields.into() }
    }

    /// Sets the method.
    #[must_use]
    pub fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    /// Sets the path.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Sets the HTTP version.
    #[must_use]
    pub fn version(mut self, version: &'static str) -> Self {
        self.version = version;
        self
    }

    /// Removes this field.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(given, _)| given != name);
        self
    }

    /// Adds a field.
    #[must_use]
    pub fn and(mut self, name: &str, value: impl Into<String>) -> Self {
        self.fields.push((name.to_owned(), value.into()));
        self
    }

    /// Replaces this field.
    #[must_use]
    pub fn with(self, name: &str, value: impl Into<String>) -> Self {
        self.without(name).and(name, value)
    }

    /// Returns the bytes on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut lines = vec![format!("{} {} {}", self.method, self.path, self.version)];
        lines.extend(self.fields.iter().map(|(name, value)| format!("{name}: {value}")));
        (lines.join("\r\n") + "\r\n\r\n").into_bytes()
    }

    /// Connects with this request, which the server must accept.
    pub async fn open(&self, address: SocketAddr) -> RawClient {
        let mut http = HttpClient::connect(address).await;
        let response = http.request(&self.bytes()).await;
        assert_eq!(response.status, 101, "the handshake: {response:?}");
        http.into_websocket()
    }

    /// Sends this request on a new connection and returns the response.
    pub async fn ask(&self, address: SocketAddr) -> HttpResponse {
        HttpClient::connect(address).await.request(&self.bytes()).await
    }
}
