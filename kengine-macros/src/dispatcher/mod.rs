//! `#[dispatcher]` on an `impl` block.
//!
//! `args`, `attr` and `policy` read what stands in attributes, `item` and `block` the block around them, faults included.
//! `validate` makes a [`Dispatcher`] of that, or returns every fault. `expand` takes only the former and cannot fail;
//! after faults, `fallback` writes what keeps the rest of the user's program compiling.

mod args;
mod attr;
mod block;
mod call;
mod cfgs;
mod expand;
mod fallback;
mod handler;
mod item;
mod policy;
mod session;
mod validate;

use proc_macro2::TokenStream;
use quote::quote;

pub(crate) use self::fallback::misplaced;
use self::{args::Args, block::Block, validate::Dispatcher};
use crate::errors::Errors;

/// Expands `#[dispatcher(args)] item`.
pub(crate) fn dispatcher(args: TokenStream, item: &TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let args = Args::parse(args, &mut errors);
    let block = match Block::parse(item.clone(), &args.krate, &mut errors) {
        Ok(block) => block,
        Err(error) => {
            errors.push(error);
            return quote!(#item #errors);
        }
    };
    match Dispatcher::validate(&args, &block, errors) {
        Ok(dispatcher) => expand::expand(&dispatcher),
        Err(errors) => fallback::inert(&args, &block, &errors),
    }
}

#[cfg(test)]
mod tests;
