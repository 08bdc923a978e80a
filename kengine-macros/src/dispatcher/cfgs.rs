//! The `#[cfg]`s that decide whether a method exists.

use proc_macro2::TokenStream;
use quote::{ToTokens, TokenStreamExt, quote};
use syn::Attribute;

/// The `cfg`s of one method, which exists where all of them hold.
pub(crate) struct Cfgs<'a>(Vec<&'a Attribute>);

impl<'a> Cfgs<'a> {
    pub(crate) fn of(attrs: &'a [Attribute]) -> Self {
        Self(attrs.iter().filter(|attr| attr.path().is_ident("cfg")).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Writes the attributes as they are.
impl ToTokens for Cfgs<'_> {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.append_all(&self.0);
    }
}

/// Returns `any(all(a, b), …)`, the condition for one of several methods to exist, or `None` if one always does.
pub(crate) fn any<'a>(methods: impl Iterator<Item = &'a Cfgs<'a>>) -> Option<TokenStream> {
    let all = |Cfgs(cfgs): &Cfgs<'_>| {
        let conditions = cfgs.iter().map(|cfg| cfg.meta.require_list().map(|list| &list.tokens).ok());
        (!cfgs.is_empty()).then(|| quote!(all(#(#conditions),*)))
    };
    let methods = methods.map(all).collect::<Option<Vec<_>>>()?;
    Some(quote!(any(#(#methods),*)))
}
