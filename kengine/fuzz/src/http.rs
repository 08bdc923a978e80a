//! HTTP/1.1 (RFC 9112) and the handshake of RFC 6455, section 4, read independently of hyper.

/// The head of a request or a response.
#[derive(Debug)]
pub struct Head<'b> {
    /// The request line or the status line.
    pub start: &'b [u8],
    pub fields: Vec<(String, &'b [u8])>,
}

impl<'b> Head<'b> {
    /// Reads the head at the start of `bytes`, and returns it with what follows it. A line may end without a carriage
    /// return (RFC 9112, section 2.2).
    pub fn read(mut bytes: &'b [u8]) -> Option<(Self, &'b [u8])> {
        let start = take_line(&mut bytes)?;
        let mut fields = Vec::new();
        loop {
            let line = take_line(&mut bytes)?;
            if line.is_empty() {
                return Some((Self { start, fields }, bytes));
            }
            let colon = line.iter().position(|&byte| byte == b':')?;
            let (name, value) = (str::from_utf8(&line[..colon]).ok()?, &line[colon + 1..]);
            fields.push((name.to_ascii_lowercase(), trim(value)));
        }
    }

    /// Returns the values of all fields with this name, in lower case.
    pub fn all<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'b [u8]> + 'h {
        self.fields.iter().filter(move |field| field.0 == name).map(|field| field.1)
    }

    /// Returns the value of the only field with this name.
    pub fn only(&self, name: &str) -> Option<&'b [u8]> {
        let mut all = self.all(name);
        all.next().filter(|_| all.next().is_none())
    }

    /// Returns whether one of the fields with this name lists a word, in any case.
    fn lists(&self, name: &str, word: &str) -> bool {
        let mut items = self.all(name).flat_map(|value| value.split(|&byte| byte == b','));
        items.any(|item| trim(item).eq_ignore_ascii_case(word.as_bytes()))
    }

    /// Returns the key if this is a handshake to a server of version 13 (RFC 6455, section 4.2.1), with nothing that
    /// makes it unclear where the connection begins.
    pub fn handshake_key(&self) -> Option<&'b [u8]> {
        let mut start = self.start.split(|&byte| byte == b' ').filter(|part| !part.is_empty());
        let key = self.only("sec-websocket-key")?;
        let is_handshake = start.next() == Some(b"GET")
            && start.next().is_some()
            && start.next() == Some(b"HTTP/1.1")
            && start.next().is_none()
            && self.only("host").is_some()
            && self.lists("upgrade", "websocket")
            && self.lists("connection", "upgrade")
            && self.only("sec-websocket-version") == Some(b"13")
            && is_key(key)
            && self.all("transfer-encoding").next().is_none()
            && self.all("content-length").all(is_zero);
        is_handshake.then_some(key)
    }
}

fn take_line<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let line = &bytes[..end];
    *bytes = &bytes[end + 1..];
    Some(line.strip_suffix(b"\r").unwrap_or(line))
}

/// Removes the white space that HTTP allows around a value: spaces and tabs (RFC 9110, section 5.6.3).
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn is_zero(digits: &[u8]) -> bool {
    !digits.is_empty() && digits.iter().all(|&digit| digit == b'0')
}

/// Returns whether a key is 16 bytes in base64 (RFC 4648, section 4).
fn is_key(key: &[u8]) -> bool {
    let Some(digits) = key.strip_suffix(b"==") else { return false };
    digits.len() == 22 && digits.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(byte))
}

/// A response of the server.
#[derive(Debug)]
pub struct Response<'b> {
    pub status: u16,
    pub head: Head<'b>,
    pub body: &'b [u8],
}

/// Reads all responses, and what follows a 101. Panics if they are not HTTP. `may_be_head` says whether one of the
/// requests may be a HEAD, whose response has no body.
pub fn responses(mut bytes: &[u8], may_be_head: bool) -> (Vec<Response<'_>>, Option<&[u8]>) {
    let mut responses = Vec::new();
    while !bytes.is_empty() {
        let shown = String::from_utf8_lossy(bytes);
        let Some((head, rest)) = Head::read(bytes) else { panic!("not the head of a response: {shown}") };
        let line = str::from_utf8(head.start).unwrap_or_else(|_| panic!("not a status line: {shown}"));
        let version = line.get(..9).unwrap_or_default();
        assert!(["HTTP/1.1 ", "HTTP/1.0 "].contains(&version), "not a status line: {shown}");
        let status = line.get(9..12).and_then(|status| status.parse().ok()).expect("a status of three digits");
        let length = head.only("content-length");
        if status == 101 {
            assert!(length.is_none(), "101 has no body: {shown}");
            responses.push(Response { status, head, body: b"" });
            return (responses, Some(rest));
        }
        let length = str::from_utf8(length.unwrap_or_else(|| panic!("no length: {shown}"))).unwrap().parse().unwrap();
        let without_body = may_be_head && (rest.is_empty() || rest.starts_with(b"HTTP/1."));
        let (body, rest) = rest.split_at(if without_body { 0 } else { length });
        responses.push(Response { status, head, body });
        bytes = rest;
    }
    (responses, None)
}
