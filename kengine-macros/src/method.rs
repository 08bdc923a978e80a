//! The methods of the trait `Dispatcher`, as generated code defines and calls them.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::Path;

use crate::hook::Hook;

/// Puts the implementation of a trait into a scope in which the name of each variable of ours stands for a function.
/// A variable may have the name of a function, but not that of a `static` or a unit struct. Without the scope, the
/// name could be that of a `static` in the user's module.
pub(crate) fn scope(krate: &Path, implementation: &TokenStream) -> TokenStream {
    quote! {
        const _: () = {
            use #krate::__private::variables::*;

            #implementation
        };
    }
}

/// Defines the method of a hook:
///
/// ```text
/// async fn close(&self, context: Context<'_, ()>, reason: &DisconnectReason) -> Result<()> { … }
/// ```
pub(crate) fn hook(hook: Hook, krate: &Path, session: &TokenStream, body: &TokenStream) -> TokenStream {
    let context = quote!(context: #krate::Context<'_, #session>);
    let parameters = match hook {
        Hook::Accept => quote!(handshake: &#krate::Handshake),
        Hook::Open | Hook::Suspend | Hook::Resume | Hook::Heartbeat => context,
        Hook::Close => quote!(#context, reason: &#krate::DisconnectReason),
        Hook::Before => quote!(#context, call: &#krate::Call),
        Hook::Fallback => quote!(#context, answer: &mut #krate::wire::Answer),
    };
    let returns = match hook {
        Hook::Accept => quote!(Self::Session, #krate::Refusal),
        Hook::Heartbeat => quote!(#krate::Liveness),
        Hook::Open | Hook::Suspend | Hook::Resume | Hook::Close | Hook::Before | Hook::Fallback => quote!(()),
    };
    let name = hook.ident(Span::call_site());
    quote! {
        async fn #name(&self, #parameters) -> #krate::Result<#returns> {
            #body
        }
    }
}

/// Returns the arguments that call a hook's method from the same method of another dispatcher.
pub(crate) fn forwarded(hook: Hook, context: TokenStream) -> TokenStream {
    match hook {
        Hook::Accept => quote!(handshake),
        Hook::Open | Hook::Suspend | Hook::Resume | Hook::Heartbeat => context,
        Hook::Close => quote!(#context, reason),
        Hook::Before => quote!(#context, call),
        Hook::Fallback => quote!(#context, answer),
    }
}

/// Defines `dispatch`.
pub(crate) fn dispatch(krate: &Path, session: &TokenStream, body: &TokenStream) -> TokenStream {
    quote! {
        async fn dispatch(
            &self,
            context: #krate::Context<'_, #session>,
            answer: &mut #krate::wire::Answer,
        ) -> #krate::Result<::core::primitive::bool> {
            #body
        }
    }
}
