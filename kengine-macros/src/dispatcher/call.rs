//! The call of a handler with its arguments.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Path, Type};

use super::handler::Handler;
use crate::hook::{Hook, Role};
use crate::spans::{at, respanned};
use crate::tokens::{elide, enclosed, find_word, plain};

/// Writes the call of a method, with the span of the method's name, where rustc reports a future that is not `Send`.
/// The future is boxed if `may_box` is set and the future is large:
///
/// ```text
/// __private::handler_future::<
///     { __private::is_large(&|| Self::chat(__private::any(), …)) },
///     _,
/// >(Self::chat(self, …)).await
/// ```
pub(crate) fn call(
    krate: &Path,
    handler: &Handler<'_>,
    arguments: &[&Type],
    session: &TokenStream,
    may_box: bool,
) -> TokenStream {
    let name = &handler.signature.ident;
    let last = arguments.len().saturating_sub(1);
    let values = arguments.iter().enumerate().map(|(index, ty)| argument(krate, handler, session, ty, index == last));
    let at = at(name.span());
    let krate = respanned(krate.to_token_stream(), at);
    let is_large = if may_box {
        let any = (0..=arguments.len()).map(|_| quote!(#krate::__private::any()));
        quote!({ #krate::__private::is_large(&|| Self::#name(#(#any),*)) })
    } else {
        quote!(false)
    };
    quote_spanned!(at=> #krate::__private::handler_future::<#is_large, _>(Self::#name(self #(, #values)*)).await)
}

/// Writes one argument of a call. The last of a route may be the message:
///
/// ```text
/// &Connection   →   <&Connection as __private::FromContext<'_, ()>>::take(context)?
/// &Handshake    →   <&Handshake as __private::IsAcceptArgument<'_>>::take(handshake)
/// &Call         →   <&Call as __private::IsHookArgument<'_, (), __private::Call, _>>::take(context, call)?
/// &str          →   <&str as __private::IsReference<(), _>>::take(
///                       __private::argument::<(), &str>(context)[Verdict], context, answer,
///                   )?
/// Chat<'a>      →   <Chat<'_> as __private::IsMessage<_>>::take(
///                       <Chat<'_> as __private::IsOwned<_>>::check(
///                           __private::argument::<(), Chat<'_>>(context)[Verdict],
///                       ),
///                       context, answer,
///                   )?
/// ```
fn argument(krate: &Path, handler: &Handler<'_>, session: &TokenStream, ty: &Type, last: bool) -> TokenStream {
    let is_reference = matches!(plain(ty), Type::Reference(_));
    let ty = elided(handler, &enclosed(ty));
    let of_hook = |event, value| quote!(<#ty as #krate::__private::IsHookArgument<'_, #session, #krate::__private::#event, _>>::take(context, #value)?);
    match handler.mark.role {
        Role::Hook(Hook::Accept) => quote!(<#ty as #krate::__private::IsAcceptArgument<'_>>::take(handshake)),
        Role::Hook(Hook::Before) => of_hook(quote!(Call), quote!(call)),
        Role::Hook(Hook::Close) => of_hook(quote!(DisconnectReason), quote!(reason)),
        Role::Route if last => {
            let verdict = quote!(#krate::__private::argument::<#session, #ty>(context)[#krate::__private::Verdict]);
            if is_reference {
                quote!(<#ty as #krate::__private::IsReference<#session, _>>::take(#verdict, context, answer)?)
            } else {
                let verdict = quote!(<#ty as #krate::__private::IsOwned<_>>::check(#verdict));
                quote!(<#ty as #krate::__private::IsMessage<_>>::take(#verdict, context, answer)?)
            }
        }
        _ => quote!(<#ty as #krate::__private::FromContext<'_, #session>>::take(context)?),
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
