//! What the code that the macros generate calls.
//!
//! A route such as `async fn chat(&self, _: &Player, message: Chat) -> Result<u32, Refused>` becomes one arm of a
//! `match` in [`Dispatcher::dispatch`](crate::Dispatcher::dispatch):
//!
//! ```text
//! "chat" => {
//!     enter(context, 0);
//!     limit(context, &<Self as Dispatcher>::ROUTES[0])?;
//!     let returned = handler_future::<{ is_large(&|| Self::chat(any(), any(), any())) }, _>(Self::chat(
//!         self,
//!         <&Player as FromContext<'_, Player>>::take(context)?,
//!         <Chat as IsMessage<_>>::take(
//!             <Chat as IsOwned<_>>::check(argument::<Player, Chat>(context)[Verdict]),
//!             context,
//!         )?,
//!     ))
//!     .await;
//!     let reply = returned(&returned)[Verdict].result(returned).map_err(IsErrorReply::into_error)?;
//!     IsReply::write(reply, answer)?;
//! }
//! ```
//!
//! The generated code knows only the tokens of a type. Two questions need the type itself: whether an argument is
//! context or the message ([`Argument`](argument::Argument)), and whether a handler returns a `Result`
//! ([`Returned`](reply::Returned)). A [`Probe`](probe::Probe) answers them while the program is compiled.
//!
//! The expansion checks each requirement on a user's type by calling a function of a trait in
//! [`kengine::bounds`](crate::bounds) on that type, and the path to the function has the span of the type. If the type
//! does not implement the trait, rustc reports one error there, with the message of the trait. A bound on a generic
//! function would add a note that names a function of kengine.

pub(crate) mod argument;
pub(crate) mod composition;
pub(crate) mod placement;
pub(crate) mod probe;
pub(crate) mod reply;
pub(crate) mod request;
