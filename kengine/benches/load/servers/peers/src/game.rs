//! The game by hand: dispatch by `method` with serde_json.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Envelope<'m> {
    method: &'m str,
    #[serde(borrow)]
    message: Option<&'m RawValue>,
}

#[derive(Deserialize)]
struct Chat {
    greeting: String,
    context: String,
}

#[derive(Deserialize)]
struct Say {
    text: String,
}

#[derive(Serialize)]
struct Said<'a> {
    method: &'static str,
    message: SaidMessage<'a>,
}

#[derive(Serialize)]
struct SaidMessage<'a> {
    text: &'a str,
}

#[derive(Serialize)]
struct Failed<'a> {
    error: &'a str,
}

/// What a message asks for.
pub enum Step {
    Answer(String),
    /// The player joins the room, and gets the answer.
    Join(String),
    /// The push goes to every member of the room.
    Push(String),
}

/// Handles a message.
pub fn handle(text: &str) -> Step {
    match dispatch(text) {
        Ok(step) => step,
        Err(error) => Step::Answer(encode(&Failed { error: &error })),
    }
}

fn dispatch(text: &str) -> Result<Step, String> {
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match envelope.method {
        "chat" => {
            let chat: Chat = decode(&envelope)?;
            std::hint::black_box(&chat.context);
            Ok(Step::Answer(encode(&format!("hey, you said: {}", chat.greeting))))
        }
        "join" => Ok(Step::Join(encode(&true))),
        "say" => {
            let say: Say = decode(&envelope)?;
            Ok(Step::Push(encode(&Said { method: "said", message: SaidMessage { text: &say.text } })))
        }
        unknown => Err(format!("there is no method `{unknown}`")),
    }
}

fn decode<'m, T: Deserialize<'m>>(envelope: &Envelope<'m>) -> Result<T, String> {
    let message = envelope.message.ok_or("there is no message")?;
    serde_json::from_str(message.get()).map_err(|error| error.to_string())
}

fn encode(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("these types always have a JSON form")
}
