//! The call of a handler with its arguments.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::Type;

use super::handler::Handler;
use crate::hook::{Hook, Role};
use crate::spans::at;
use crate::tokens::{elide, find_word, plain};

/// Writes `__private::handler_future(Self::chat(self, …)).await`, with the span of the method's name, where rustc
/// reports a future that is not `Send`.
pub(crate) fn call(handler: &Handler<'_>, session: &TokenStream) -> TokenStream {
    let name = &handler.signature.ident;
    let last = handler.arguments.len().saturating_sub(1);
    let arguments = handler.arguments.iter().enumerate();
    let arguments = arguments.map(|(index, ty)| argument(handler, session, ty, index == last));
    quote_spanned!(at(name.span())=> __private::handler_future(Self::#name(self #(, #arguments)*)).await)
}

/// Writes one argument of a call. The last of a route may be the message:
///
/// ```text
/// &Connection   →   <&Connection as __private::FromContext<'_, ()>>::take(context)?
/// &Handshake    →   <&Handshake as __private::IsAcceptArgument<'_>>::take(handshake)
/// &Call         →   <&Call as __private::IsHookArgument<'_, (), __private::Call, _>>::take(context, call)?
/// &str          →   <&str as __private::IsReference<(), _>>::take(__private::last::<(), &str>(context).find())?
/// Chat<'a>      →   <Chat<'_> as __private::IsMessage<_>>::take(
///                       <Chat<'_> as __private::IsOwned<_>>::check(__private::last::<(), Chat<'_>>(context).find()),
///                   )?
/// ```
fn argument(handler: &Handler<'_>, session: &TokenStream, ty: &Type, last: bool) -> TokenStream {
    let is_reference = matches!(plain(ty), Type::Reference(_));
    let ty = elided(handler, ty);
    let of_hook = |event, value| quote!(<#ty as __private::IsHookArgument<'_, #session, __private::#event, _>>::take(context, #value)?);
    match handler.mark.role {
        Role::Hook(Hook::Accept) => quote!(<#ty as __private::IsAcceptArgument<'_>>::take(handshake)),
        Role::Hook(Hook::Before) => of_hook(quote!(Call), quote!(call)),
        Role::Hook(Hook::Close) => of_hook(quote!(DisconnectReason), quote!(reason)),
        Role::Route if last => {
            let found = quote!(__private::last::<#session, #ty>(context).find());
            if is_reference {
                quote!(<#ty as __private::IsReference<#session, _>>::take(#found)?)
            } else {
                quote!(<#ty as __private::IsMessage<_>>::take(<#ty as __private::IsOwned<_>>::check(#found))?)
            }
        }
        _ => quote!(<#ty as __private::FromContext<'_, #session>>::take(context)?),
    }
}

/// Returns the type with `'_` in place of each lifetime that has no meaning at the call: those that the method
/// declares, and those that nothing declares, so that rustc reports the latter only once.
fn elided(handler: &Handler<'_>, ty: &Type) -> TokenStream {
    // A type with `for<'a>` declares lifetimes itself, so only those that the method declares are elided in it.
    let declares = find_word(ty, "for").is_some();
    let own = |ident: &Ident| handler.signature.generics.lifetimes().any(|own| own.lifetime.ident == *ident);
    elide(ty.to_token_stream(), &|ident| ident != "static" && (own(ident) || !declares))
}
