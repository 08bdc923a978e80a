//! The session of a block: its type, and how generated methods name it.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::{Generics, Path, ReturnType, spanned::Spanned};

use super::{cfgs, validate::Dispatcher};
use crate::{
    hook::Hook,
    spans::{at, respanned},
    tokens::{enclosed, mentions_parameter},
};

/// Writes `type Session = …;`: the given type, that of the `#[accept]` hook, or `()`.
pub(crate) fn declaration(dispatcher: &Dispatcher<'_>) -> TokenStream {
    let Dispatcher { args, block, .. } = dispatcher;
    if let Some(session) = &args.session {
        return quote!(type Session = #session;);
    }
    let accepts = dispatcher.hooks(Hook::Accept);
    let types = accepts.clone().map(|handler| {
        let cfgs = &handler.cfgs;
        let session = of_accept(&args.krate, &block.header.generics, &handler.signature.output);
        quote!(#cfgs type Session = #session;)
    });
    let without = match accepts.clone().next() {
        None => Some(quote!(
            type Session = ();
        )),
        Some(_) => cfgs::any(accepts.map(|handler| &handler.cfgs)).map(|condition| {
            quote!(
                #[cfg(not(#condition))]
                type Session = ();
            )
        }),
    };
    quote!(#(#types)* #without)
}

/// Returns the session as methods name it: as briefly as possible, because the docs show the expansion.
pub(crate) fn name(dispatcher: &Dispatcher<'_>) -> TokenStream {
    let named = dispatcher.args.session.is_some() || dispatcher.hooks(Hook::Accept).next().is_some();
    if named { quote!(Self::Session) } else { quote!(()) }
}

/// Returns the session in what an `#[accept]` hook returns:
///
/// ```text
/// <Result<Player, Refusal> as __private::Accepted<
///     { <Result<Player, Refusal> as __private::IsAcceptOutput<_>>::FORM },
/// >>::Session
/// ```
pub(crate) fn of_accept(krate: &Path, generics: &Generics, output: &ReturnType) -> TokenStream {
    let returned = match output {
        ReturnType::Default => return quote!(()),
        ReturnType::Type(_, ty) => enclosed(ty).to_token_stream(),
    };
    let at = at(returned.span());
    let krate = respanned(krate.to_token_stream(), at);
    let form = if mentions_parameter(generics, &returned) {
        quote!({ #krate::__private::EITHER })
    } else {
        quote_spanned!(at=> { <#returned as #krate::__private::IsAcceptOutput<_>>::FORM })
    };
    quote_spanned!(at=> <#returned as #krate::__private::Accepted<#form>>::Session)
}
