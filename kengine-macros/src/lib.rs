//! The macros of kengine. Use them through the crate `kengine`, which documents them.
//!
//! Each macro has a directory: `dispatcher`, `compose` (`#[derive(Dispatcher)]`) and `push` (`#[derive(Push)]`). In each,
//! reading yields either a model without faults, which is all that `expand` accepts, or every fault at once, together with
//! what is needed to keep the rest of the user's program compiling. The files beside them serve all macros.

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

use crate::hook::{Hook, Role, for_each_hook};

#[proc_macro_attribute]
#[expect(missing_docs, reason = "documented where `kengine` re-exports it")]
pub fn dispatcher(args: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
    dispatcher::dispatcher(args.into(), &item.into()).into()
}

/// Defines an attribute that `#[dispatcher]` removes from its block. One that is left is misplaced.
macro_rules! mark {
    ($name:ident, $role:expr) => {
        #[proc_macro_attribute]
        #[expect(missing_docs, reason = "documented where `kengine` re-exports it")]
        pub fn $name(_: proc_macro::TokenStream, item: proc_macro::TokenStream) -> proc_macro::TokenStream {
            dispatcher::misplaced($role, &item.into()).into()
        }
    };
}

macro_rules! mark_hooks {
    ($($hook:ident $name:ident,)*) => {
        $(mark!($name, Role::Hook(Hook::$hook));)*
    };
}

mark!(route, Role::Route);
for_each_hook!(mark_hooks);

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
