//! One connection of a player, which checks everything that arrives on it.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::Value;
use tokio::{net::TcpStream, time::Instant, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message},
};

use crate::crowd::Crowd;

/// After this time without an answer, a player gives up a connection or an attempt to connect.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a player asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Request {
    /// The process of the node.
    Process,
    Join(usize),
    Leave(usize),
    Say(usize),
    /// Says a probe. It is said again if other nodes could not be reached.
    Probe(usize),
}

/// An answer that must come. Answers come in the order of the requests.
#[derive(Debug)]
enum Awaited {
    Heartbeat,
    Answer(u64, Request),
}

/// How a connection ended.
#[derive(Debug)]
pub(crate) enum End {
    /// With this close code.
    Closed(u16),
    /// Without a close frame.
    Cut,
    /// The other side was silent for too long.
    Silent,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Link {
    crowd: Arc<Crowd>,
    /// Names the connection in what its player says.
    name: String,
    socket: WebSocketStream<TcpStream>,
    awaited: VecDeque<Awaited>,
    /// The process that serves it, once that has answered.
    pub(crate) process: Option<u32>,
    /// The rooms that it is in.
    pub(crate) rooms: BTreeSet<usize>,
    /// The rooms that it has ever asked to join.
    asked: BTreeSet<usize>,
    /// The probes that it has heard: the number, the player who said it, and the room.
    pub(crate) heard: BTreeSet<(u32, usize, usize)>,
    /// The rooms in which its probe must be said again.
    pub(crate) unheard: Vec<usize>,
    /// How many things it has said, and asked.
    said: u64,
    next_id: u64,
    /// The last number that was heard of each connection in each room.
    last: HashMap<(String, usize), u64>,
    pub(crate) heard_at: Instant,
}

#[derive(Deserialize)]
struct Frame {
    id: Option<u64>,
    #[serde(default)]
    result: Value,
    error: Option<Failure>,
    method: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct Failure {
    code: String,
}

impl Link {
    /// Connects through the gateway; returns `None` if that fails.
    pub(crate) async fn connect(crowd: &Arc<Crowd>, player: usize, serial: u64, query: &str) -> Option<Self> {
        let connecting = async {
            let stream = TcpStream::connect(crowd.front).await.map_err(Error::Io)?;
            let _ = stream.set_nodelay(true);
            client_async(format!("ws://{}/ws?{query}", crowd.front), stream).await
        };
        let socket = match timeout(PATIENCE, connecting).await {
            Ok(Ok((socket, _))) => socket,
            Ok(Err(Error::Http(response))) => {
                let status = response.status().as_u16();
                crowd.count(format!("connects refused with {status}"));
                if !matches!(status, 502..=504) {
                    crowd.wrong(format!("a connect of {} was refused with {status}", Crowd::uid(player)));
                }
                return None;
            }
            Ok(Err(_)) => {
                crowd.count("connects cut");
                return None;
            }
            Err(_) => {
                crowd.count("connects without an answer");
                return None;
            }
        };
        crowd.count("connects");
        Some(Self {
            crowd: Arc::clone(crowd),
            name: format!("{}.{serial}", Crowd::uid(player)),
            socket,
            awaited: VecDeque::new(),
            process: None,
            rooms: BTreeSet::new(),
            asked: BTreeSet::new(),
            heard: BTreeSet::new(),
            unheard: Vec::new(),
            said: 0,
            next_id: 0,
            last: HashMap::new(),
            heard_at: Instant::now(),
        })
    }

    /// Returns how many requests and heartbeats are not answered yet.
    pub(crate) fn unanswered(&self) -> usize {
        self.awaited.len()
    }

    /// Describes the first request or heartbeat that is not answered yet, with the connection.
    pub(crate) fn awaits(&self) -> Option<String> {
        let first = self.awaited.front()?;
        Some(format!("{} in process {:?} awaits the answer to {first:?}", self.name, self.process))
    }

    /// Sends a heartbeat.
    pub(crate) async fn beat(&mut self) -> Result<(), End> {
        self.awaited.push_back(Awaited::Heartbeat);
        self.send("p".to_owned()).await
    }

    /// Sends a request. If it says something, `word` is the text.
    pub(crate) async fn request(&mut self, request: Request, word: &str) -> Result<(), End> {
        self.next_id += 1;
        let id = self.next_id;
        let (method, message) = match request {
            Request::Process => ("process", "null".to_owned()),
            Request::Join(room) => {
                self.asked.insert(room);
                ("join", format!("{:?}", Crowd::room(room)))
            }
            Request::Leave(room) => ("leave", format!("{:?}", Crowd::room(room))),
            Request::Say(room) | Request::Probe(room) => {
                self.said += 1;
                let (name, number) = (&self.name, self.said);
                ("say", format!(r#"[{:?},"{room} {name} {number} {word}"]"#, Crowd::room(room)))
            }
        };
        self.awaited.push_back(Awaited::Answer(id, request));
        self.send(format!(r#"{{"method":"{method}","message":{message},"id":{id}}}"#)).await
    }

    async fn send(&mut self, text: String) -> Result<(), End> {
        match timeout(PATIENCE, self.socket.send(Message::text(text))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Cut),
            Err(_) => Err(End::Silent),
        }
    }

    /// Closes the connection.
    pub(crate) async fn close(mut self) {
        let _ = timeout(PATIENCE, async {
            let _ = self.socket.close(None).await;
            while let Some(Ok(_)) = self.socket.next().await {}
        })
        .await;
    }

    /// Reads one frame and checks it. Can be cancelled.
    pub(crate) async fn read(&mut self) -> Result<(), End> {
        let frame = self.socket.next().await;
        self.heard_at = Instant::now();
        match frame {
            Some(Ok(Message::Text(text))) => {
                if let Err(wrong) = self.check(&text) {
                    self.crowd.wrong(format!("{} got `{text}`: {wrong}", self.name));
                }
                Ok(())
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Close(Some(close)))) => Err(End::Closed(close.code.into())),
            Some(Ok(Message::Close(None)) | Err(_)) | None => Err(End::Cut),
            Some(Ok(other)) => {
                self.crowd.wrong(format!("{} got {other:?}", self.name));
                Ok(())
            }
        }
    }

    fn check(&mut self, text: &str) -> Result<(), String> {
        if text == "q" {
            return match self.awaited.pop_front() {
                Some(Awaited::Heartbeat) => Ok(()),
                other => Err(format!("instead of the answer to {other:?}")),
            };
        }
        let frame: Frame = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if let Some(id) = frame.id {
            return match self.awaited.pop_front() {
                Some(Awaited::Answer(expected, request)) if expected == id => {
                    self.answered(request, &frame.result, frame.error.as_ref().map(|error| &*error.code))
                }
                other => Err(format!("instead of the answer to {other:?}")),
            };
        }
        match (frame.method.as_deref(), frame.message) {
            (Some("said"), Some(said)) => self.heard(&said),
            _ => Err("neither an answer nor a push".to_owned()),
        }
    }

    fn answered(&mut self, request: Request, result: &Value, error: Option<&str>) -> Result<(), String> {
        if let Some(code) = error {
            self.crowd.count(format!(
                "{code} for {}",
                match request {
                    Request::Process => "process",
                    Request::Join(_) => "join",
                    Request::Leave(_) => "leave",
                    Request::Say(_) | Request::Probe(_) => "say",
                }
            ));
        }
        match (request, error) {
            (Request::Process, None) => {
                let process = result.as_u64().and_then(|process| u32::try_from(process).ok());
                self.process = Some(process.ok_or("not a process")?);
            }
            // After this error too, the connection is in the room.
            (Request::Join(room), None | Some("unavailable")) => _ = self.rooms.insert(room),
            (Request::Leave(room), None) => {
                let was_in = self.rooms.remove(&room);
                if *result != Value::Bool(was_in) {
                    return Err(format!("its player was in {}: {was_in}", Crowd::room(room)));
                }
            }
            (Request::Say(_), None | Some("unavailable")) | (Request::Probe(_), None) => {}
            // Redis took longer than a second.
            (Request::Probe(room), Some("unavailable")) => self.unheard.push(room),
            (_, Some(_)) => return Err(format!("the answer to {request:?}")),
        }
        Ok(())
    }

    fn heard(&mut self, said: &str) -> Result<(), String> {
        let parts: Vec<_> = said.split(' ').collect();
        let [room, name, number, word] = parts[..] else { return Err("it has other parts".to_owned()) };
        let room = room.parse().map_err(|_| "it has no room")?;
        let number = number.parse().map_err(|_| "it has no number")?;
        let sender = name.strip_prefix('p').and_then(|name| name.split_once('.')?.0.parse().ok());
        let sender: usize = sender.ok_or("it has no sender")?;
        self.crowd.count("pushes");
        if !self.asked.contains(&room) {
            return Err("its player never joined this room".to_owned());
        }
        if name == self.name {
            return Err("its player said it".to_owned());
        }
        if let Some(before) = self.last.insert((name.to_owned(), room), number)
            && before >= number
        {
            return Err(format!("after number {before} of the same sender"));
        }
        if let Some(probe) = word.strip_prefix("probe") {
            self.heard.insert((probe.parse().map_err(|_| "it has no number")?, sender, room));
        }
        Ok(())
    }

    /// Reads, and sends heartbeats, until the connection ends.
    pub(crate) async fn outlive(mut self) -> End {
        loop {
            let beat_at = Instant::now() + crate::players::BEAT;
            loop {
                match tokio::time::timeout_at(beat_at, self.read()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(end)) => return end,
                    Err(_) => break,
                }
            }
            if self.is_silent() {
                return End::Silent;
            }
            if let Err(end) = self.beat().await {
                return end;
            }
        }
    }

    /// Returns whether the other side was silent for too long.
    pub(crate) fn is_silent(&self) -> bool {
        self.heard_at.elapsed() > PATIENCE
    }
}
