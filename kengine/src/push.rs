//! Messages that the server starts.

use bytes::Bytes;
use fastwebsockets::OpCode;
use serde::Serialize;

use crate::{Syntax, socket::encoder};

/// A message that the server starts, sent as `{"method": NAME, "message": {…}}`.
///
/// ```
/// use kengine::{Connection, Push};
///
/// #[derive(serde::Serialize)]
/// struct Joined {
///     player: u32,
/// }
///
/// impl Push for Joined {
///     const NAME: &'static str = "joined";
/// }
///
/// fn greet(connection: &Connection) {
///     let _ = connection.send(&Joined { player: 7 });
/// }
/// ```
pub trait Push: Serialize {
    /// What stands under the route key.
    const NAME: &'static str;
}

/// Encodes a push as one text frame, ready for any number of receivers.
pub(crate) fn encode<P: Push + ?Sized>(push: &P, syntax: Syntax) -> serde_json::Result<Bytes> {
    let mut frame = Vec::with_capacity(128);
    encoder::frame(&mut frame, OpCode::Text, |out| {
        out.push(b'{');
        serde_json::to_writer(&mut *out, syntax.key())?;
        out.push(b':');
        serde_json::to_writer(&mut *out, P::NAME)?;
        out.push(b',');
        match syntax.payload() {
            Some(payload) => {
                serde_json::to_writer(&mut *out, payload)?;
                out.push(b':');
                serde_json::to_writer(&mut *out, push)?;
                out.push(b'}');
            }
            None => flatten(push, out)?,
        }
        Ok::<(), serde_json::Error>(())
    })?;
    Ok(frame.into())
}

/// Appends the members of `push`, which must be an object, and the brace that ends the whole.
fn flatten<P: Push + ?Sized>(push: &P, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let start = out.len();
    serde_json::to_writer(&mut *out, push)?;
    match &out[start..] {
        b"{}" | b"null" => out.truncate(start - 1),
        [b'{', ..] => {
            out.remove(start);
            return Ok(());
        }
        _ => {
            return Err(serde::ser::Error::custom(format_args!(
                "the push `{}` stands flat beside its name, so it must be a struct with named fields",
                P::NAME
            )));
        }
    }
    out.push(b'}');
    Ok(())
}
