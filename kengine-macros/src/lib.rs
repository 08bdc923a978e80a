//! The macros of kengine. Use them through the crate `kengine`, which documents them.
//!
//! Each macro has a directory: `dispatcher`, `compose` (`#[derive(Dispatcher)]`) and `push` (`#[derive(Push)]`). Each
//! macro first parses and checks its input. If the input is valid, `expand` generates the code. Otherwise all mistakes
//! are reported at once, with placeholder code so that the rest of the user's program compiles. The files next to the
//! directories are shared.

mod compose;
mod dispatcher;
mod errors;
mod hook;
mod inert;
mod method;
mod options;
mod push;
mod spans;
mod tokens;

use syn::{DeriveInput, parse_macro_input};

use crate::hook::for_each_hook;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod ui;

#[proc_macro_attribute]
#[expect(missing_docs, reason = "documented where `kengine` re-exports it")]
pub fn dispatcher(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    dispatcher::dispatcher(args.into(), &item.into()).into()
}

/// Defines the attributes that `#[dispatcher]` removes from its block. One that is left is misplaced.
macro_rules! define_marks {
    ($($kind:ident $name:ident,)*) => {$(
        #[proc_macro_attribute]
        #[expect(missing_docs, reason = "documented where `kengine` re-exports it")]
        pub fn $name(_: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
            dispatcher::misplaced(stringify!($name), &item.into()).into()
        }
    )*};
}
define_marks!(Route route,);
for_each_hook!(define_marks);

#[proc_macro_derive(Push, attributes(push))]
#[expect(missing_docs, reason = "documented where `kengine` re-exports it")]
pub fn push(item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    push::derive(&parse_macro_input!(item as DeriveInput)).into()
}

#[proc_macro_derive(Dispatcher, attributes(kengine))]
#[expect(missing_docs, reason = "documented where `kengine` re-exports it")]
pub fn compose(item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    compose::derive(&parse_macro_input!(item as DeriveInput)).into()
}
