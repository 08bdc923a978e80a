//! The methods of the trait `Dispatcher`, as generated code defines and calls them.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::Path;

use crate::hook::Hook;

/// Defines the method of a hook:
///
/// ```text
/// async fn close<'call>(&'call self, context: Context<'call, ()>, reason: &'call DisconnectReason) -> Result<()> { … }
/// ```
pub(crate) fn hook(hook: Hook, krate: &Path, session: &TokenStream, body: &TokenStream) -> TokenStream {
    let context = quote!(context: #krate::Context<'call, #session>);
    let parameters = match hook {
        Hook::Accept => quote!(handshake: &'call #krate::Handshake),
        Hook::Open | Hook::Heartbeat => context,
        Hook::Close => quote!(#context, reason: &'call #krate::DisconnectReason),
        Hook::Before => quote!(#context, call: &'call #krate::Call),
        Hook::Fallback => quote!(#context, answer: &'call mut #krate::wire::Answer),
    };
    let returns = match hook {
        Hook::Accept => quote!(Self::Session, #krate::Refusal),
        Hook::Heartbeat => quote!(#krate::Liveness),
        Hook::Open | Hook::Close | Hook::Before | Hook::Fallback => quote!(()),
    };
    let name = hook.ident(Span::call_site());
    quote! {
        async fn #name<'call>(&'call self, #parameters) -> #krate::Result<#returns> {
            use #krate::__private::{self, lookup::*};
            #body
        }
    }
}

/// Returns the arguments that call a hook's method from the same method of another dispatcher.
pub(crate) fn forwarded(hook: Hook, context: TokenStream) -> TokenStream {
    match hook {
        Hook::Accept => quote!(handshake),
        Hook::Open | Hook::Heartbeat => context,
        Hook::Close => quote!(#context, reason),
        Hook::Before => quote!(#context, call),
        Hook::Fallback => quote!(#context, answer),
    }
}

/// Defines `dispatch`. Its lifetime is `'call`, because a type with `for<'a>` in it would declare `'a` again.
pub(crate) fn dispatch(krate: &Path, session: &TokenStream, body: &TokenStream) -> TokenStream {
    quote! {
        async fn dispatch<'call>(
            &'call self,
            context: #krate::Context<'call, #session>,
            answer: &'call mut #krate::wire::Answer,
        ) -> #krate::Result<bool> {
            use #krate::__private::{self, lookup::*};
            #body
        }
    }
}
