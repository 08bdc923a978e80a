//! The `#[cfg]`s that decide whether a method or an argument exists.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::{ToTokens, TokenStreamExt, quote};
use syn::Attribute;

use super::attr::inside_cfg_attr;
use crate::errors::Errors;

/// The `cfg`s of one method or argument, which exists where all of them hold.
pub(crate) struct Cfgs<'a>(Vec<&'a Attribute>);

/// A predicate of a `cfg` without its `not`, and whether it had none.
struct Predicate {
    tokens: TokenStream,
    holds: bool,
}

impl<'a> Cfgs<'a> {
    /// Returns the `cfg`s of a method or an argument, and reports each one that is hidden inside a `cfg_attr`.
    pub(crate) fn of(attrs: &'a [Attribute], whose: &str, errors: &mut Errors) -> Self {
        for hidden in attrs.iter().flat_map(|attr| inside_cfg_attr(&attr.meta)) {
            if hidden.path().is_ident("cfg") {
                let message = format!(
                    "`#[cfg]` inside `cfg_attr` is not visible to `#[dispatcher]`; put `#[cfg(…)]` on the {whose}"
                );
                errors.at(hidden, message);
            }
        }
        Self(attrs.iter().filter(|attr| attr.path().is_ident("cfg")).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn predicates(&self) -> impl Iterator<Item = Predicate> {
        self.0.iter().filter_map(|cfg| Some(Predicate::of(cfg.meta.require_list().ok()?.tokens.clone())))
    }
}

impl Predicate {
    fn of(tokens: TokenStream) -> Self {
        let parts: Vec<_> = tokens.clone().into_iter().collect();
        match parts.as_slice() {
            [TokenTree::Ident(not), TokenTree::Group(group)]
                if not == "not" && group.delimiter() == Delimiter::Parenthesis =>
            {
                let inner = Self::of(group.stream());
                Self { holds: !inner.holds, ..inner }
            }
            _ => Self { tokens, holds: true },
        }
    }

    fn text(&self) -> String {
        self.tokens.to_string()
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

/// The maximum number of different predicates on the arguments of one method.
pub(crate) const MAX_PREDICATES: usize = 6;

/// Returns each combination of arguments that a method can have, with the attribute of the condition for it.
///
/// An argument of a call cannot have a `#[cfg]`, so there is one call for each combination. With more than
/// [`MAX_PREDICATES`] different predicates there is no combination.
pub(crate) fn combinations<'a, T>(arguments: &'a [(Cfgs<'_>, T)]) -> Option<Vec<(Option<TokenStream>, Vec<&'a T>)>> {
    let mut predicates: Vec<Predicate> = Vec::new();
    for predicate in arguments.iter().flat_map(|(cfgs, _)| cfgs.predicates()) {
        if predicates.iter().all(|other| other.text() != predicate.text()) {
            predicates.push(predicate);
        }
    }
    if predicates.len() > MAX_PREDICATES {
        return None;
    }
    let combination = |bits: usize| {
        let holds = |predicate: &Predicate| {
            let index = predicates.iter().position(|other| other.text() == predicate.text());
            index.is_some_and(|index| bits >> index & 1 == 1) == predicate.holds
        };
        let exist = arguments.iter().filter(|(cfgs, _)| cfgs.predicates().all(|predicate| holds(&predicate)));
        let conditions = predicates.iter().enumerate().map(|(index, Predicate { tokens, .. })| {
            if bits >> index & 1 == 1 { tokens.clone() } else { quote!(not(#tokens)) }
        });
        let condition = (!predicates.is_empty()).then(|| quote!(#[cfg(all(#(#conditions),*))]));
        (condition, exist.map(|(_, argument)| argument).collect())
    };
    Some((0..1 << predicates.len()).rev().map(combination).collect())
}
