//! The block as it was written, faults included.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::{ToTokens, TokenStreamExt};
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, Ident, ItemImpl, Path, Token, Type, Visibility};

use super::item::Item;
use crate::{errors::Errors, tokens::plain};

/// The `impl` block without our attributes.
pub(crate) struct Block {
    /// `#[attrs] impl<…> Type where … {}`, without the items.
    pub(crate) header: ItemImpl,
    inner: Vec<Attribute>,
    pub(crate) items: Vec<Item>,
}

impl Block {
    /// Parses a block. Fails if it is not an `impl` block.
    pub(crate) fn parse(item: TokenStream, krate: &Path, errors: &mut Errors) -> syn::Result<Self> {
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
                items.push(Item::parse(input, krate, errors)?);
            }
            Ok((inner, items))
        };
        let (inner, items) = parser.parse2(body.stream())?;
        Ok(Self { header, inner, items })
    }

    /// Returns the name of the type, unless it is a type without one, such as a tuple.
    pub(crate) fn name(&self) -> Option<&Ident> {
        match plain(&self.header.self_ty) {
            Type::Path(path) if path.qself.is_none() => path.path.segments.last().map(|last| &last.ident),
            _ => None,
        }
    }
}

/// Returns an error at the token where `impl` was expected. If `impl` is there, returns `fault`, the error from parsing
/// the header, if there is one.
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
        body.append_all(&self.inner);
        body.append_all(&self.items);
        let mut group = Group::new(Delimiter::Brace, body);
        group.set_span(self.header.brace_token.span.join());
        // The header ends with its own empty braces; the full ones replace them.
        let mut header: Vec<TokenTree> = self.header.to_token_stream().into_iter().collect();
        header.pop();
        tokens.extend(header);
        tokens.append(group);
    }
}
