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

#[proc_macro_attribute]
#[expect(missing_docs, reason = "documented where `kengine` re-exports it")]
pub fn route(_: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    fallback::misplaced(Kind::Route, &item.into()).into()
}

#[proc_macro_attribute]
#[expect(missing_docs, reason = "documented where `kengine` re-exports it")]
pub fn heartbeat(_: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    fallback::misplaced(Kind::Heartbeat, &item.into()).into()
}

#[proc_macro_attribute]
#[expect(missing_docs, reason = "documented where `kengine` re-exports it")]
pub fn fallback(_: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    fallback::misplaced(Kind::Fallback, &item.into()).into()
}

#[proc_macro_attribute]
#[expect(missing_docs, reason = "documented where `kengine` re-exports it")]
pub fn accept(_: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    fallback::misplaced(Kind::Accept, &item.into()).into()
}

#[proc_macro_attribute]
#[expect(missing_docs, reason = "documented where `kengine` re-exports it")]
pub fn before(_: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    fallback::misplaced(Kind::Before, &item.into()).into()
}

#[proc_macro_attribute]
#[expect(missing_docs, reason = "documented where `kengine` re-exports it")]
pub fn close(_: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    fallback::misplaced(Kind::Close, &item.into()).into()
}

#[proc_macro_attribute]
#[expect(missing_docs, reason = "documented where `kengine` re-exports it")]
pub fn open(_: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    fallback::misplaced(Kind::Open, &item.into()).into()
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
