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

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    /// Returns each combination of arguments with these attributes: its condition, and the numbers of its arguments.
    fn combined(attributes: &[Vec<Attribute>]) -> Option<Vec<(String, Vec<usize>)>> {
        let arguments = attributes.iter().enumerate();
        let arguments: Vec<_> =
            arguments.map(|(number, attrs)| (Cfgs::of(attrs, "argument", &mut Errors::default()), number)).collect();
        let shown = |(condition, arguments): (Option<TokenStream>, Vec<&usize>)| {
            let condition = condition.unwrap_or_default().to_string().replace(' ', "");
            (condition, arguments.into_iter().copied().collect())
        };
        Some(combinations(&arguments)?.into_iter().map(shown).collect())
    }

    #[test]
    fn each_combination_of_arguments_has_its_condition() {
        let attributes = [
            vec![parse_quote!(#[cfg(unix)])],
            vec![],
            vec![parse_quote!(#[cfg(not(unix))])],
            vec![parse_quote!(#[cfg(any(test, debug))]), parse_quote!(#[cfg(unix)])],
        ];
        let expected = [
            ("#[cfg(all(unix,any(test,debug)))]", vec![0, 1, 3]),
            ("#[cfg(all(not(unix),any(test,debug)))]", vec![1, 2]),
            ("#[cfg(all(unix,not(any(test,debug))))]", vec![0, 1]),
            ("#[cfg(all(not(unix),not(any(test,debug))))]", vec![1, 2]),
        ];
        let expected = expected.map(|(condition, arguments)| (condition.to_owned(), arguments));
        assert_eq!(combined(&attributes).unwrap(), expected);
        assert_eq!(combined(&[vec![], vec![]]).unwrap(), [(String::new(), vec![0, 1])]);
    }

    #[test]
    fn there_are_at_most_six_predicates() {
        let attributes = |count| -> Vec<Vec<Attribute>> {
            let names = (0..count).map(|number| quote::format_ident!("p{number}"));
            names.map(|name| vec![parse_quote!(#[cfg(#name)])]).collect()
        };
        assert_eq!(combined(&attributes(6)).unwrap().len(), 64);
        assert_eq!(combined(&attributes(7)), None);
    }

    #[test]
    fn the_attributes_are_written_as_they_are() {
        let attrs = [parse_quote!(#[cfg(unix)]), parse_quote!(#[inline]), parse_quote!(#[cfg(test)])];
        let cfgs = Cfgs::of(&attrs, "method", &mut Errors::default());
        assert_eq!(cfgs.to_token_stream().to_string().replace(' ', ""), "#[cfg(unix)]#[cfg(test)]");
    }
}
