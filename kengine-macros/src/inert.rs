//! The `Dispatcher` that stands in for one with faults, so that code that uses it reports no further errors.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Generics, Path, parse_quote};

/// Implements a dispatcher that takes no message:
///
/// ```text
/// impl ::kengine::Dispatcher for Game where Self: 'static { type Session = (); const SYNTAX: … = …; }
/// ```
pub(crate) fn dispatcher(krate: &Path, generics: &Generics, ty: impl ToTokens, session: impl ToTokens) -> TokenStream {
    let mut bounded = generics.clone();
    bounded.make_where_clause().predicates.push(parse_quote!(Self: 'static));
    let (generics, _, clause) = bounded.split_for_impl();
    quote! {
        #[automatically_derived]
        impl #generics #krate::Dispatcher for #ty #clause {
            type Session = #session;
            const SYNTAX: #krate::wire::Syntax = #krate::wire::Syntax::UNKNOWN;
        }
    }
}
