//! Messages that the server sends without a request.

use std::sync::Arc;

use fastwebsockets::OpCode;
use serde::Serialize;

use crate::protocol::const_text::equal;
use crate::protocol::syntax::Syntax;
use crate::websocket::encoder;

/// Identifies a [`Latest`](Delivery::Latest) push: its name and its [key](Push::key) as JSON. A newer push replaces a
/// waiting one with an equal key.
pub(crate) type PushKey = Arc<[u8]>;

/// A message that the server sends without a request, as `{"method": NAME, "message": {…}}`. The type must implement
/// [`Serialize`].
///
/// Most types [derive](macro@crate::Push) it:
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
/// Two names are reserved for presence in rooms: [`joined`](crate::room::Joined) and [`left`](crate::room::Left). A
/// push of another type with one of these names does not compile. The derive rejects such a name. If the trait is
/// implemented by hand, sending the push does not compile:
///
/// ```compile_fail,E0080
/// #[derive(serde::Serialize)]
/// struct Arrived;
///
/// impl kengine::Push for Arrived {
///     const NAME: &'static str = "joined";
/// }
///
/// fn greet(connection: &kengine::Connection) {
///     let _ = connection.send(&Arrived);
/// }
/// # let _ = greet as fn(&kengine::Connection);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a push",
    label = "expected a type that implements `kengine::Push`",
    note = "add `#[derive(kengine::Push)]` to `{Self}`"
)]
pub trait Push: IsSerialize {
    /// The value of the route key.
    const NAME: &'static str;

    /// What happens to this push while the client reads too slowly.
    const DELIVERY: Delivery = Delivery::Reliable;

    /// Returns the key of a [`Latest`](Delivery::Latest) push: of the waiting pushes of this type whose keys have the
    /// same JSON, only the newest is kept. By default all pushes of a type have the same key.
    fn key(&self) -> impl Serialize {}
}

/// What happens to a push that the client has not read yet when the next one comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Delivery {
    /// Every push is sent, in order. A client that is too slow to take them is closed with 4002.
    #[default]
    Reliable,
    /// A newer push replaces a waiting one with the same [key](Push::key). Use it when the client needs the current
    /// state and not each step to it.
    Latest,
}

/// A type that implements [`Serialize`]. `Serialize` is not a supertrait, because rustc would report it first and hide
/// the message below.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent as a push",
    label = "expected a type that implements `serde::Serialize`",
    note = "add `#[derive(serde::Serialize)]` to `{Self}`"
)]
pub trait IsSerialize {
    /// Appends the value as JSON.
    ///
    /// # Errors
    ///
    /// The error of the type's own `Serialize`.
    fn encode(&self, out: &mut Vec<u8>) -> serde_json::Result<()>;
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + ?Sized> IsSerialize for T {
    fn encode(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        serde_json::to_writer(out, self)
    }
}

/// A field of a push key: a type that implements [`Serialize`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be part of the key of a push",
    label = "expected a field whose type implements `serde::Serialize`",
    note = "add `#[derive(serde::Serialize)]` to `{Self}`, or choose another field"
)]
pub trait IsPushKey {
    /// Returns the field unchanged. `Serialize` is not a supertrait, for the same reason as in `IsSerialize`.
    #[doc(hidden)]
    fn field(&self) -> impl Serialize;
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + ?Sized> IsPushKey for T {
    fn field(&self) -> impl Serialize {
        self
    }
}

/// Returns the key of a [`Latest`](Delivery::Latest) push; `None` for a reliable one.
///
/// # Errors
///
/// The key cannot be written as JSON.
pub(crate) fn key_of<P: Push + ?Sized>(push: &P) -> serde_json::Result<Option<PushKey>> {
    match P::DELIVERY {
        Delivery::Reliable => Ok(None),
        Delivery::Latest => {
            let mut key = Vec::with_capacity(P::NAME.len() + 16);
            // The name is written as JSON so that its end is unambiguous.
            serde_json::to_writer(&mut key, P::NAME)?;
            serde_json::to_writer(&mut key, &push.key())?;
            Ok(Some(key.into()))
        }
    }
}

/// Encodes a push as one text frame, which any number of receivers can share. `id` is set for a question to a client.
///
/// # Errors
///
/// The push cannot be written as JSON, or the syntax is flat and the push is not an object.
pub(crate) fn encode<P: Push + ?Sized>(push: &P, syntax: Syntax, id: Option<u64>) -> serde_json::Result<Vec<u8>> {
    let mut frame = Vec::with_capacity(128);
    encoder::write_frame_with(&mut frame, OpCode::Text, |out| {
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
    Ok(frame)
}

/// Appends the members of a push, which must be an object, and the closing brace of the whole message.
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
                "the syntax is flat, so the push `{}` must be a struct with named fields",
                P::NAME
            )));
        }
    }
    out.push(b'}');
    Ok(())
}

/// Fails to compile if the name of a user's push is the name of a presence push.
pub(crate) const fn check_name_is_free<P: Push + ?Sized>() {
    const {
        assert!(
            !equal(P::NAME, "joined") && !equal(P::NAME, "left"),
            "the push names `joined` and `left` are reserved for presence in rooms; choose another name"
        );
    }
}
