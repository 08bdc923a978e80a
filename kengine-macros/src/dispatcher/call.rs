//! The call of a handler with its arguments.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Type, spanned::Spanned};

use super::handler::Handler;
use crate::{
    hook::{Hook, Role},
    spans::at,
    tokens::{elide, find_word, plain},
};

/// Writes `__private::sent(Self::chat(self, …)).await`, with the span of the method's name: there rustc reports a future
/// that is not `Send`.
pub(crate) fn call(handler: &Handler<'_>, session: &TokenStream) -> TokenStream {
    let name = &handler.signature.ident;
    let last = handler.arguments.len().saturating_sub(1);
    let arguments = handler.arguments.iter().enumerate();
    let arguments = arguments.map(|(index, ty)| argument(handler, session, ty, index == last));
    quote_spanned!(at(name.span())=> __private::sent(Self::#name(self #(, #arguments)*)).await)
}

/// Writes one argument of a call:
///
/// ```text
/// &Connection         →   __private::context::<&Connection, ()>(context)?
/// Chat<'a>            →   __private::Argument::<(), Chat<'_>, _>::placed(context, __private::Last).argument()?
/// &DisconnectReason   →   __private::Argument::<(), &DisconnectReason, _>::placed(context, …Hook(reason)).argument()?
/// &Handshake          →   __private::handshake::<&Handshake>(handshake)
/// ```
fn argument(handler: &Handler<'_>, session: &TokenStream, ty: &Type, last: bool) -> TokenStream {
    let elided = elided(handler, ty);
    let place = match handler.mark.role {
        Role::Hook(Hook::Accept) => return quote!(__private::handshake::<#elided>(handshake)),
        Role::Hook(Hook::Before) => quote!(Hook(call)),
        Role::Hook(Hook::Close) => quote!(Hook(reason)),
        Role::Route if last => quote!(Last),
        _ if matches!(plain(ty), Type::Reference(_)) => {
            return quote!(__private::context::<#elided, #session>(context)?);
        }
        Role::Route => quote!(Ahead),
        Role::Hook(Hook::Open | Hook::Heartbeat | Hook::Fallback) => quote!(Hook(&())),
    };
    let argument = quote_spanned!(at(ty.span())=> argument);
    quote!(__private::Argument::<#session, #elided, _>::placed(context, __private::#place).#argument()?)
}

/// Returns the type with `'_` in place of each lifetime that has no meaning at the call: those that the method declares,
/// and those that nothing declares, so that rustc reports the latter only once.
fn elided(handler: &Handler<'_>, ty: &Type) -> TokenStream {
    // With `for<'a>`, a type may declare lifetimes itself; then only the method's are sure not to be its own.
    let declares = find_word(ty, "for").is_some();
    let own = |ident: &Ident| handler.signature.generics.lifetimes().any(|own| own.lifetime.ident == *ident);
    elide(ty.to_token_stream(), &|ident| ident != "static" && (own(ident) || !declares))
}
