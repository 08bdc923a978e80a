//! How a test drives each client: with commands as JSON, such as `["text", "hello"]`. Every answer is `null`, except
//! that of `["next"]`, which is the next event. A command that the client does not offer is answered `"not offered"`.

use std::process::Stdio;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdin, ChildStdout, Command},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        Message,
        protocol::{
            CloseFrame,
            frame::{
                Frame,
                coding::{Data, OpCode},
            },
        },
    },
};

use crate::browser::{Browser, Tab};

/// A client under the control of a test.
pub(crate) trait Driver {
    /// Runs one command and returns its answer.
    async fn run(&mut self, command: &Value) -> Value;
}

/// A client in a process of its own, which reads commands and writes answers, a line each.
pub(crate) struct Script {
    _child: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Script {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("it starts");
        let commands = child.stdin.take().expect("a pipe");
        let answers = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { _child: child, commands, answers }
    }
}

impl Driver for Script {
    async fn run(&mut self, command: &Value) -> Value {
        self.commands.write_all(format!("{command}\n").as_bytes()).await.expect("it reads");
        let answer = self.answers.next_line().await.expect("it writes").expect("it runs");
        serde_json::from_str(&answer).expect("JSON")
    }
}

/// The `WebSocket` of a browser.
pub(crate) struct Page {
    browser: Browser,
    tab: Tab,
}

impl Page {
    /// Opens an empty page, which has no origin, and loads the script that runs the commands.
    pub(crate) async fn open(script: &str) -> Self {
        let mut browser = Browser::start().await;
        let tab = browser.open("about:blank").await;
        browser.until(&tab, "document.readyState === 'complete'").await;
        browser.look(&tab, &format!("{script}; undefined")).await;
        Self { browser, tab }
    }

    pub(crate) async fn close(mut self) {
        self.browser.close(self.tab).await;
    }
}

impl Driver for Page {
    async fn run(&mut self, command: &Value) -> Value {
        self.browser.look(&self.tab, &format!("drive({command})")).await
    }
}

/// tokio-tungstenite, in this process.
#[derive(Default)]
pub(crate) struct Tungstenite(Option<WebSocketStream<MaybeTlsStream<TcpStream>>>);

impl Tungstenite {
    async fn send(&mut self, message: Message) {
        // If the server has closed the connection, the next event says why.
        let _ = self.0.as_mut().expect("connected").send(message).await;
    }

    async fn next(&mut self) -> Value {
        let socket = self.0.as_mut().expect("connected");
        loop {
            match socket.next().await {
                Some(Ok(Message::Text(text))) => return json!(["text", text.as_str()]),
                Some(Ok(Message::Binary(bytes))) => return json!(["binary", characters(&bytes)]),
                Some(Ok(Message::Pong(payload))) => return json!(["pong", characters(&payload)]),
                Some(Ok(Message::Close(close))) => {
                    // The close is answered while the client reads on.
                    while socket.next().await.is_some_and(|read| read.is_ok()) {}
                    // 1005 is what a browser reports for a close without a code.
                    let close =
                        close.map_or((1005, String::new()), |close| (close.code.into(), close.reason.to_string()));
                    return json!(["close", close.0, close.1]);
                }
                Some(Ok(Message::Ping(_) | Message::Frame(_))) => {}
                None | Some(Err(_)) => return json!(["close", 1006, ""]),
            }
        }
    }
}

impl Driver for Tungstenite {
    async fn run(&mut self, command: &Value) -> Value {
        let text = || command[1].as_str().expect("a text").to_owned();
        match command[0].as_str().expect("a name") {
            "connect" => self.0 = Some(connect_async(text()).await.expect("a connection").0),
            "text" => self.send(Message::text(text())).await,
            "binary" => self.send(Message::binary(bytes(&text()))).await,
            "ping" => self.send(Message::Ping(bytes(&text()).into())).await,
            "fragments" => {
                let texts = command[1].as_array().expect("texts");
                for (index, text) in texts.iter().enumerate() {
                    let opcode = OpCode::Data(if index == 0 { Data::Text } else { Data::Continue });
                    let payload = text.as_str().expect("a text").to_owned();
                    self.send(Message::Frame(Frame::message(payload, opcode, index + 1 == texts.len()))).await;
                }
            }
            "close" => {
                let code = command[1].as_u64().map(|code| u16::try_from(code).expect("a code"));
                let reason = command[2].as_str().unwrap_or_default().to_owned();
                self.send(Message::Close(code.map(|code| CloseFrame { code: code.into(), reason: reason.into() })))
                    .await;
            }
            "next" => return self.next().await,
            other => unreachable!("{other}"),
        }
        Value::Null
    }
}

/// Returns a string with one character for each byte.
pub(crate) fn characters(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// Returns the bytes of such a string.
fn bytes(characters: &str) -> Vec<u8> {
    characters.chars().map(|character| u8::try_from(character).expect("a byte")).collect()
}
