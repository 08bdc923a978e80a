//! The block as it was written.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::{ToTokens, TokenStreamExt};
use syn::{
    Attribute, Generics, Ident, ItemImpl, Token, Type, Visibility,
    parse::{ParseStream, Parser},
};

use crate::{args::Args, errors::Errors, item::Item};

/// The `impl` block, without our attributes.
pub(crate) struct Block {
    /// `#[attrs] impl<…> Type where … {}`; its items are below.
    pub(crate) header: ItemImpl,
    inner: Vec<Attribute>,
    pub(crate) items: Vec<Item>,
}

impl Block {
    /// Fails on what is not an `impl` block at all.
    pub(crate) fn parse(item: TokenStream, args: &Args, errors: &mut Errors) -> syn::Result<Self> {
        let mut header: Vec<TokenTree> = item.clone().into_iter().collect();
        let body = match header.pop() {
            Some(TokenTree::Group(body)) if body.delimiter() == Delimiter::Brace => body,
            _ => return Err(no_impl(item, None)),
        };
        let mut empty = Group::new(Delimiter::Brace, TokenStream::new());
        empty.set_span(body.span());
        header.push(empty.into());
        let header = syn::parse2(header.into_iter().collect()).map_err(|error| no_impl(item, Some(error)))?;

        let parser = |input: ParseStream<'_>| {
            let inner = input.call(Attribute::parse_inner)?;
            let mut items = Vec::new();
            while !input.is_empty() {
                items.push(Item::parse(input, &args.krate, errors)?);
            }
            Ok((inner, items))
        };
        let (inner, items) = parser.parse2(body.stream())?;
        Ok(Self { header, inner, items })
    }

    /// The type's name, unless it has none.
    pub(crate) fn name(&self) -> Option<&Ident> {
        match plain(&self.header.self_ty) {
            Type::Path(path) if path.qself.is_none() => path.path.segments.last().map(|last| &last.ident),
            _ => None,
        }
    }
}

/// The type without the invisible or visible parentheses around it.
pub(crate) fn plain(mut ty: &Type) -> &Type {
    loop {
        ty = match ty {
            Type::Group(group) => &group.elem,
            Type::Paren(paren) => &paren.elem,
            _ => return ty,
        };
    }
}

/// The tokens, with what stands in brackets in place of the brackets.
pub(crate) fn flatten(tokens: TokenStream) -> Vec<TokenTree> {
    let flat = |token| match token {
        TokenTree::Group(group) => flatten(group.stream()),
        token => vec![token],
    };
    tokens.into_iter().flat_map(flat).collect()
}

pub(crate) fn is_ident(token: &TokenTree, name: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == name)
}

/// The word `impl` in a type.
pub(crate) fn find_impl(tokens: TokenStream) -> Option<TokenTree> {
    flatten(tokens).into_iter().find(|token| is_ident(token, "impl"))
}

/// Whether these parameters decide what a type is. `Self` may stand for any of them.
pub(crate) fn mentions_parameter(generics: &Generics, ty: &impl ToTokens) -> bool {
    let is_parameter = |ident: &Ident| {
        let mut names = generics
            .type_params()
            .map(|ty| &ty.ident)
            .chain(generics.const_params().map(|value| &value.ident));
        ident == "Self" || names.any(|name| name == ident)
    };
    flatten(ty.to_token_stream())
        .iter()
        .any(|token| matches!(token, TokenTree::Ident(ident) if is_parameter(ident)))
}

/// Points at the word that should be `impl`; where it is, the header has another fault.
fn no_impl(item: TokenStream, fault: Option<syn::Error>) -> syn::Error {
    let parser = |input: ParseStream<'_>| {
        input.call(Attribute::parse_outer)?;
        input.parse::<Visibility>()?;
        let is_impl = input.peek(Token![impl]) || input.peek2(Token![impl]);
        let word = input.span();
        input.parse::<TokenStream>()?;
        let message = "expected an `impl` block; `#[dispatcher]` goes on `impl Type { … }`";
        Ok(fault.filter(|_| is_impl).unwrap_or_else(|| syn::Error::new(word, message)))
    };
    parser.parse2(item).unwrap_or_else(|error| error)
}

impl ToTokens for Block {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let mut body = TokenStream::new();
        for attr in &self.inner {
            attr.to_tokens(&mut body);
        }
        for item in &self.items {
            item.to_tokens(&mut body);
        }
        let mut group = Group::new(Delimiter::Brace, body);
        group.set_span(self.header.brace_token.span.join());
        // The header's own, empty braces come last: the full ones take their place.
        let mut header: Vec<TokenTree> = self.header.to_token_stream().into_iter().collect();
        header.pop();
        tokens.extend(header);
        tokens.append(group);
    }
}
