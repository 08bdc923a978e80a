//! A client of Redis, as small as the curve of the nodes allows.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Error, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A connection to Redis.
#[derive(Debug)]
pub struct RedisClient(BufReader<UnixStream>);

impl RedisClient {
    pub fn connect(socket: &Path) -> io::Result<Self> {
        UnixStream::connect(socket).map(|stream| Self(BufReader::new(stream)))
    }

    /// Sends some commands in one write, and reads their replies. Returns the text of the last reply, if it is one.
    ///
    /// # Errors
    ///
    /// The connection failed, or Redis replied with an error.
    pub fn run(&mut self, commands: &[Vec<String>]) -> io::Result<String> {
        let mut request = String::new();
        for command in commands {
            // Writing to a string cannot fail.
            let _ = write!(request, "*{}\r\n", command.len());
            for argument in command {
                let _ = write!(request, "${}\r\n{argument}\r\n", argument.len());
            }
        }
        self.0.get_mut().write_all(request.as_bytes())?;
        let mut reply = String::new();
        for _ in commands {
            reply = self.reply()?;
        }
        Ok(reply)
    }

    /// Reads a reply.
    fn reply(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let (kind, rest) = line.trim_end().split_at_checked(1).ok_or_else(|| Error::other("Redis closed"))?;
        let len = || rest.parse::<i64>().map_err(Error::other);
        match kind {
            "-" => Err(Error::other(format!("Redis replied {rest}"))),
            "$" => {
                let Ok(len) = usize::try_from(len()?) else { return Ok(String::new()) };
                let mut text = vec![0; len + 2];
                self.0.read_exact(&mut text)?;
                text.truncate(len);
                String::from_utf8(text).map_err(Error::other)
            }
            "*" => (0..len()?).try_fold(String::new(), |_, _| self.reply()),
            _ => Ok(rest.to_owned()),
        }
    }
}
