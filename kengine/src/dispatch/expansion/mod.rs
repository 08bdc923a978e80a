//! What the code that the macros generate calls.
//!
//! A route such as `async fn chat(&self, _: &Player, message: Chat) -> Result<u32, Refused>` becomes one arm of a `match` in
//! [`Dispatcher::dispatch`](crate::Dispatcher::dispatch):
//!
//! ```text
//! "chat" => {
//!     enter(context, 0);
//!     limit(context, &Self::ROUTES[0])?;
//!     let returned = handler_future(Self::chat(
//!         self,
//!         <&Player as FromContext<'_, Player>>::from_context(context)?,
//!         <Chat as IsMessage<_>>::take(<Chat as IsOwned<_>>::check(last::<Player, Chat>(context).find()))?,
//!     ))
//!     .await;
//!     let reply = Returned(returned).result().map_err(IsErrorReply::into_error)?;
//!     IsReply::write(reply, answer);
//! }
//! ```
//!
//! The generated code knows only the tokens of a type. Two questions need the type itself, and method lookup answers them:
//! whether an argument is context or the message ([`Last`](argument::Last)), and whether a handler returns a `Result`
//! ([`Returned`](reply::Returned)).
//!
//! Every requirement on a user's type is the `Self: Trait` of a function of a trait in [`kengine::bounds`](crate::bounds), and
//! the path to the function has the span of that type. If the requirement is not met, rustc reports it there in the words of
//! the trait, once, and has no function of kengine to point at. A bound on a generic function would add a note that names the
//! function.

pub(crate) mod argument;
pub(crate) mod composition;
pub(crate) mod reply;
pub(crate) mod request;
