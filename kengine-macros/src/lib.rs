//! The macros of kengine. Use them through the crate `kengine`, which documents them.
//!
//! The way of a block: `args` and `attr` read what the user wrote in attributes, `model` and `item` the block around them,
//! `validate` turns it into what can be expanded or into errors, `expand` writes the code; after errors `fallback`
//! writes as little as keeps the rest of the user's program quiet.

mod args;
mod attr;
mod compose;
mod errors;
mod expand;
mod fallback;
mod item;
mod model;
mod options;
mod policy;
mod push;
mod validate;

use proc_macro2::TokenStream;
use quote::quote;

use crate::{args::Args, attr::Kind, errors::Errors, model::Block};

#[proc_macro_attribute]
#[expect(missing_docs, reason = "documented where `kengine` re-exports it")]
pub fn dispatcher(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    dispatcher_tokens(args.into(), &item.into()).into()
}

/// What `#[dispatcher]` takes out of its block: where it does not, it is an error.
macro_rules! marks {
    ($($name:ident $kind:ident)*) => {$(
        #[proc_macro_attribute]
        #[expect(missing_docs, reason = "documented where `kengine` re-exports it")]
        pub fn $name(_: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
            fallback::misplaced(Kind::$kind, &item.into()).into()
        }
    )*};
}

marks! {
    route Route
    heartbeat Heartbeat
    accept Accept
    open Open
    close Close
    before Before
    fallback Fallback
}

#[proc_macro_derive(Push, attributes(push))]
#[expect(missing_docs, reason = "documented where `kengine` re-exports it")]
pub fn push(item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    push::derive(item.into()).into()
}

#[proc_macro_derive(Dispatcher, attributes(kengine))]
#[expect(missing_docs, reason = "documented where `kengine` re-exports it")]
pub fn compose(item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    compose::derive(item.into()).into()
}

/// `#[dispatcher(args)] item`, on the types that also work outside of a compiler.
fn dispatcher_tokens(args: TokenStream, item: &TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let args = Args::parse(args, &mut errors);
    let block = match Block::parse(item.clone(), &args, &mut errors) {
        Ok(block) => block,
        Err(error) => {
            errors.push(error);
            let errors = errors.into_tokens();
            return quote!(#item #errors);
        }
    };
    match validate::dispatcher(&args, &block, &mut errors) {
        Some(dispatcher) if errors.is_empty() => expand::expand(&dispatcher),
        _ => fallback::inert(&args, &block, errors),
    }
}

#[cfg(test)]
mod tests;
