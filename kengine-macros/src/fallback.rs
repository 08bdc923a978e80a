//! What is written when there are errors: the errors, and as little as keeps the rest of the program quiet.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};

use crate::{
    args::Args,
    attr::Kind,
    errors::Errors,
    expand,
    item::Item,
    model::{Block, find_impl},
};

/// The block without our attributes, the errors, and an implementation that takes no message.
///
/// ```text
/// impl Game { … }
/// compile_error! { "…" }
/// impl ::kengine::Dispatcher for Game where Self: 'static { type Session = (); }
/// ```
pub(crate) fn inert(args: &Args, block: &Block, errors: Errors) -> TokenStream {
    let krate = &args.krate;
    let (errors, header) = (errors.into_tokens(), &block.header);
    let written = header.trait_.as_ref().and_then(|(path, _)| path.segments.last());
    // A type without a name cannot have the trait, and one that has it already cannot have it twice.
    if block.name().is_none() || written.is_some_and(|last| last.ident == "Dispatcher") {
        return quote!(#block #errors);
    }
    let (generics, ty, session) = (&header.generics, &header.self_ty, session(args, block));
    // Not `where Self: 'static` alone: there may be a `where` clause to add it to.
    let mut clause = generics.where_clause.clone().unwrap_or_else(|| syn::parse_quote!(where));
    clause.predicates.push(syn::parse_quote!(Self: 'static));
    quote! {
        #block
        #errors
        #[automatically_derived]
        impl #generics #krate::Dispatcher for #ty #clause {
            type Session = #session;
            const SYNTAX: #krate::wire::Syntax = #krate::wire::Syntax::UNKNOWN;
        }
    }
}

/// The session as far as it can be told, so that what is right about the handlers stays right.
fn session(args: &Args, block: &Block) -> TokenStream {
    let krate = &args.krate;
    let mut accepts =
        block.items.iter().filter(|item| item.marks.iter().any(|mark| mark.kind == Kind::Accept));
    match (&args.session, accepts.next().and_then(Item::signature)) {
        (Some(session), _) => quote!(#session),
        (None, Some(signature)) if find_impl(signature.output.to_token_stream()).is_none() => {
            expand::admission(krate, &block.header.generics, &signature.output)
        }
        _ => quote!(()),
    }
}

/// An attribute of ours that no `#[dispatcher]` has taken.
pub(crate) fn misplaced(kind: Kind, item: &TokenStream) -> TokenStream {
    let message = format!("`#[{kind}]` only has a meaning inside an `impl` marked `#[kengine::dispatcher]`");
    let error = syn::Error::new(Span::call_site(), message).into_compile_error();
    quote!(#item #error)
}
