//! What `#[dispatcher]` generates for a block with faults, and for an attribute outside of a block.

use proc_macro2::{Span, TokenStream};
use quote::quote;

use super::args::Args;
use super::block::Block;
use super::item::{Content, Item};
use super::session;
use crate::errors::Errors;
use crate::hook::{Hook, Role};
use crate::inert;
use crate::tokens::find_word;

/// Writes the block without our attributes, the errors, and an inert dispatcher.
pub(crate) fn expand(args: &Args, block: &Block, errors: &Errors) -> TokenStream {
    let header = &block.header;
    let implemented = header.trait_.as_ref().and_then(|(path, _)| path.segments.last());
    // A type without a name cannot implement the trait, and no type can implement it twice.
    let inert = (block.name().is_some() && implemented.is_none_or(|last| last.ident != "Dispatcher"))
        .then(|| inert::dispatcher(&args.krate, &header.generics, &header.self_ty, session(args, block)));
    quote!(#block #errors #inert)
}

/// Returns the session as far as it is known, so that rustc reports no errors in handlers without faults.
fn session(args: &Args, block: &Block) -> TokenStream {
    let is_accept = |item: &&Item| item.marks.iter().any(|mark| mark.role == Role::Hook(Hook::Accept));
    match (&args.session, block.items.iter().find(is_accept).map(|item| &item.content)) {
        (Some(session), _) => quote!(#session),
        (None, Some(Content::Function { signature, .. })) if find_word(&signature.output, "impl").is_none() => {
            session::of_accept(&args.krate, &block.header.generics, &signature.output)
        }
        _ => quote!(()),
    }
}

/// Reports an attribute of ours that no `#[dispatcher]` has removed.
pub(crate) fn misplaced(mark: &str, item: &TokenStream) -> TokenStream {
    let message = format!("`#[{mark}]` can only be used inside an `impl` marked `#[kengine::dispatcher]`");
    let error = syn::Error::new(Span::call_site(), message).into_compile_error();
    quote!(#item #error)
}
