//! Messages that the server starts.

use std::hash::{Hash, Hasher};

use bytes::Bytes;
use fastwebsockets::OpCode;
use serde::Serialize;

use crate::{Syntax, outbox, socket::encoder};

/// A message that the server starts, sent as `{"method": NAME, "message": {…}}`: a type that implements [`Serialize`].
///
/// It has a [derive](macro@crate::Push), which is all that most need:
///
/// ```
/// use kengine::{Connection, Push};
///
/// #[derive(serde::Serialize, Push)]
/// struct Welcome {
///     player: u32,
/// }
///
/// assert_eq!(Welcome::NAME, "welcome");
///
/// fn greet(connection: &Connection) {
///     let _ = connection.send(&Welcome { player: 7 });
/// }
/// ```
///
/// Two names are taken: [`joined`](crate::Joined) and [`left`](crate::Left) are pushes of the rooms.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a push",
    label = "expected a type that implements `kengine::Push`",
    note = "add `#[derive(kengine::Push)]` to `{Self}`"
)]
pub trait Push: Encoded {
    /// What stands under the route key.
    const NAME: &'static str;

    /// What becomes of it while the client is slower than the server.
    const DELIVERY: Delivery = Delivery::Reliable;

    /// Feeds what tells one [`Latest`](Delivery::Latest) push of this type from another: of those with equal keys
    /// one waits. Nothing unless overridden: one waits per type.
    fn key<H: Hasher>(&self, state: &mut H) {
        let _ = state;
    }
}

/// What becomes of a push that the client has not read yet when the next one comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Delivery {
    /// Each is sent, in order. A client too slow to take them is closed with 4002.
    #[default]
    Reliable,
    /// A newer one takes the place of one that still waits under the same [key](Push::key): the client needs the
    /// state and not each step to it.
    Latest,
}

/// Tells which push of a type one is, byte by byte: what is fed to it is kept instead of hashed, so that no two keys
/// are ever taken for one.
struct Fields(Vec<u8>);

impl Hasher for Fields {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

/// Under which key a push waits, if a newer one may take its place.
pub(crate) fn key_of<P: Push + ?Sized>(push: &P) -> Option<outbox::Key> {
    match P::DELIVERY {
        Delivery::Reliable => None,
        Delivery::Latest => {
            let mut fields = Fields(Vec::with_capacity(P::NAME.len() + 16));
            // As `str` does: the end of the name is told from the start of the fields.
            P::NAME.hash(&mut fields);
            push.key(&mut fields);
            Some(fields.0.into())
        }
    }
}

/// [`Serialize`], with our words: every such type has it. It stands in its place, not upon it, because rustc reports a
/// supertrait's own supertraits first.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent as a push",
    label = "expected a type that implements `serde::Serialize`",
    note = "add `#[derive(serde::Serialize)]` to `{Self}`"
)]
pub trait Encoded {
    /// Appends the JSON.
    ///
    /// # Errors
    ///
    /// What the type's own `Serialize` fails with.
    fn encode(&self, out: &mut Vec<u8>) -> serde_json::Result<()>;
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + ?Sized> Encoded for T {
    fn encode(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        serde_json::to_writer(out, self)
    }
}

/// Feeds one field of a key.
#[doc(hidden)]
pub fn key<T: Key + ?Sized, H: Hasher>(field: &T, state: &mut H) {
    field.hash(state);
}

/// A field of a key. [`Hash`], with our words.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot tell one push from another",
    label = "expected a field whose type implements `std::hash::Hash`",
    note = "add `#[derive(Hash)]` to `{Self}`, or choose another field"
)]
pub trait Key: Hash {}

#[diagnostic::do_not_recommend]
impl<T: Hash + ?Sized> Key for T {}

/// Encodes a push as one text frame, ready for any number of receivers.
pub(crate) fn encode<P: Push + ?Sized>(push: &P, syntax: Syntax) -> serde_json::Result<Bytes> {
    encode_with(push, syntax, None)
}

/// Encodes what the client is to answer: a push with an id.
pub(crate) fn encode_question<P: Push + ?Sized>(
    push: &P,
    syntax: Syntax,
    id: u64,
) -> serde_json::Result<Bytes> {
    encode_with(push, syntax, Some(id))
}

fn encode_with<P: Push + ?Sized>(push: &P, syntax: Syntax, id: Option<u64>) -> serde_json::Result<Bytes> {
    let mut frame = Vec::with_capacity(128);
    encoder::frame(&mut frame, OpCode::Text, |out| {
        out.push(b'{');
        if let Some(id) = id {
            out.extend_from_slice(b"\"id\":");
            serde_json::to_writer(&mut *out, &id)?;
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, syntax.key())?;
        out.push(b':');
        serde_json::to_writer(&mut *out, P::NAME)?;
        out.push(b',');
        match syntax.payload() {
            Some(payload) => {
                serde_json::to_writer(&mut *out, payload)?;
                out.push(b':');
                push.encode(out)?;
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
    push.encode(out)?;
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
