//! Searches types and token streams, and rewrites the lifetimes in them.

use proc_macro2::{Group, Ident, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{Attribute, Generics, Lifetime, Type, parse_quote};

/// Returns the type without the visible or invisible parentheses around it.
pub(crate) fn plain(mut ty: &Type) -> &Type {
    loop {
        ty = match ty {
            Type::Group(group) => &group.elem,
            Type::Paren(paren) => &paren.elem,
            _ => return ty,
        };
    }
}

/// Returns the type, in parentheses if it consists of bounds. Such a type may end with a `+`, after which no `as` and
/// no `:` can stand.
pub(crate) fn enclosed(ty: &Type) -> Type {
    match ty {
        Type::TraitObject(_) | Type::ImplTrait(_) => parse_quote!((#ty)),
        _ => ty.clone(),
    }
}

/// Returns the tokens with each group replaced by its content.
fn flatten(tokens: TokenStream) -> Vec<TokenTree> {
    let flat = |token| match token {
        TokenTree::Group(group) => flatten(group.stream()),
        token => vec![token],
    };
    tokens.into_iter().flat_map(flat).collect()
}

fn find(tokens: impl ToTokens, wanted: impl Fn(&Ident) -> bool) -> Option<TokenTree> {
    let wanted = |token: &TokenTree| matches!(token, TokenTree::Ident(ident) if wanted(ident));
    flatten(tokens.into_token_stream()).into_iter().find(wanted)
}

/// Returns the first token that is this word.
pub(crate) fn find_word(tokens: impl ToTokens, word: &str) -> Option<TokenTree> {
    find(tokens, |ident| ident == word)
}

/// Writes `#[allow(deprecated)]` for generated code if one of the attributes of the user's code mentions the word: they
/// deprecate an item of it, or allow it to use one. Without such an attribute, `forbid(deprecated)` may be in force.
pub(crate) fn allow_deprecated<'a>(mut attrs: impl Iterator<Item = &'a Attribute>) -> Option<TokenStream> {
    attrs.any(|attr| find_word(&attr.meta, "deprecated").is_some()).then(|| quote!(#[allow(deprecated)]))
}

/// Returns the lifetimes in a type.
pub(crate) fn lifetimes(ty: impl ToTokens) -> Vec<Lifetime> {
    let lifetime = |pair: &[TokenTree]| match pair {
        [TokenTree::Punct(quote), TokenTree::Ident(ident)] if quote.as_char() == '\'' => {
            Some(Lifetime { apostrophe: quote.span(), ident: ident.clone() })
        }
        _ => None,
    };
    flatten(ty.into_token_stream()).windows(2).filter_map(lifetime).collect()
}

/// Whether a type depends on these parameters. `Self` may depend on any of them.
pub(crate) fn mentions_parameter(generics: &Generics, ty: impl ToTokens) -> bool {
    let is_parameter = |ident: &Ident| {
        ident == "Self"
            || generics.type_params().any(|ty| ty.ident == *ident)
            || generics.const_params().any(|value| value.ident == *ident)
    };
    find(ty, is_parameter).is_some()
}

/// Returns the tokens with `'_` in place of each lifetime that `elided` selects by its name.
pub(crate) fn elide(tokens: TokenStream, elided: &dyn Fn(&Ident) -> bool) -> TokenStream {
    let mut quoted = false;
    let token = |token| match token {
        TokenTree::Group(group) => {
            let mut inner = Group::new(group.delimiter(), elide(group.stream(), elided));
            inner.set_span(group.span());
            inner.into()
        }
        TokenTree::Ident(ident) if std::mem::take(&mut quoted) && elided(&ident) => {
            Ident::new("_", ident.span()).into()
        }
        token => {
            quoted = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '\'');
            token
        }
    };
    tokens.into_iter().map(token).collect()
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    #[test]
    fn parentheses_around_a_type_are_left_out() {
        let inner = Group::new(proc_macro2::Delimiter::None, quote!(Chat));
        for ty in [quote!(Chat), quote!((Chat)), TokenTree::Group(inner).into()] {
            let ty = syn::parse2(ty).unwrap();
            assert!(matches!(plain(&ty), Type::Path(path) if path.path.is_ident("Chat")));
        }
    }

    #[test]
    fn deprecation_is_allowed_if_it_is_mentioned() {
        for (attribute, is_allowed) in [
            (parse_quote!(#[deprecated]), true),
            (parse_quote!(#[allow(unused, deprecated)]), true),
            (parse_quote!(#[inline]), false),
        ] {
            let attributes: [Attribute; 1] = [attribute];
            let allowed = allow_deprecated(attributes.iter()).map(|tokens| tokens.to_string().replace(' ', ""));
            assert_eq!(allowed.as_deref(), is_allowed.then_some("#[allow(deprecated)]"));
        }
    }

    #[test]
    fn lifetimes_are_found_and_elided_inside_of_a_type() {
        let ty: TokenStream = quote!(Chat<'a, (&'_ str, [u8; 2], Box<dyn for<'b> Fn(&'b a)>)>);
        let found: Vec<_> = lifetimes(&ty).iter().map(|lifetime| lifetime.ident.to_string()).collect();
        assert_eq!(found, ["a", "_", "b", "b"]);
        assert!(lifetimes(quote!(a - b + c)).is_empty());
        let elided = elide(ty, &|name| name == "a");
        let expected = quote!(Chat<'_, (&'_ str, [u8; 2], Box<dyn for<'b> Fn(&'b a)>)>);
        assert_eq!(elided.to_string(), expected.to_string());
    }

    #[test]
    fn a_type_mentions_a_parameter() {
        let generics: Generics = parse_quote!(<'a, T, const N: usize>);
        for (ty, mentions) in [
            (quote!(Self::Session), true),
            (quote!(Box<T>), true),
            (quote!([u8; N]), true),
            (quote!(Result<Player<'a>, Refused>), false),
        ] {
            assert_eq!(mentions_parameter(&generics, &ty), mentions, "{ty}");
        }
    }
}
