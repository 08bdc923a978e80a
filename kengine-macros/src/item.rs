//! One item of the block, as far as it can be read.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::{ToTokens, TokenStreamExt, quote};
use syn::{
    Attribute, LitStr, Path, Signature, Token, Visibility,
    parse::{ParseStream, discouraged::Speculative},
    token::{Brace, Bracket},
};

use crate::{
    attr::{self, Mark},
    errors::Errors,
};

/// An item without our attributes.
pub(crate) struct Item {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) marks: Vec<Mark>,
    kind: Kind,
}

enum Kind {
    Function {
        vis: Visibility,
        defaultness: Option<Token![default]>,
        signature: Box<Signature>,
        /// Kept as it came, so that what is wrong in there is rustc's to say, and what is new in there needs no new
        /// parser.
        body: TokenStream,
    },
    Other(TokenStream),
    /// What it should be cannot be told, as while it is typed. That has been reported; it is left out, and what
    /// stands around it stays as it is.
    Broken,
}

impl Item {
    /// Reads one item, and never nothing.
    pub(crate) fn parse(input: ParseStream<'_>, krate: &Path, errors: &mut Errors) -> syn::Result<Self> {
        let mut attrs = attr::parse(input, krate, errors)?;
        let marks = attr::take(&mut attrs, krate, errors);
        let kind = Kind::parse(input).unwrap_or_else(|error| {
            errors.push(error);
            Kind::Broken
        });
        Ok(Self { attrs, marks, kind })
    }

    pub(crate) fn signature(&self) -> Option<&Signature> {
        match &self.kind {
            Kind::Function { signature, .. } => Some(signature),
            Kind::Other(_) | Kind::Broken => None,
        }
    }

    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.kind, Kind::Broken)
    }
}

impl Kind {
    /// Fails on what is no item; that has been skipped then.
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if input.is_empty() {
            // Attributes of nothing: rustc has said so already.
            return Ok(Self::Broken);
        }
        let ahead = input.fork();
        let function = (|| syn::Result::Ok((ahead.parse()?, ahead.parse()?, ahead.parse()?)))();
        match function {
            Ok((vis, defaultness, signature)) => {
                input.advance_to(&ahead);
                Ok(Self::Function { vis, defaultness, signature: Box::new(signature), body: body(input)? })
            }
            Err(error) if skip_to_function(input)? => {
                item(input, false)?;
                Err(syn::Error::new(error.span(), "this is no signature yet; the method is left out"))
            }
            Err(_) => {
                let semicolon_ends = is_const_or_type(input);
                let start = input.span();
                match item(input, semicolon_ends)? {
                    (tokens, true) => Ok(Self::Other(tokens)),
                    (_, false) => Err(syn::Error::new(start, "this is no item yet; it is left out")),
                }
            }
        }
    }
}

/// A function's body, or the semicolon in its place. Where there is neither, rustc has said so already.
fn body(input: ParseStream<'_>) -> syn::Result<TokenStream> {
    if input.peek(Brace) || input.peek(Token![;]) {
        input.parse::<TokenTree>().map(TokenStream::from)
    } else {
        Ok(quote!({ loop {} }))
    }
}

/// The tokens of an item, and whether they are all of it: it ends where the next one begins, too.
fn item(input: ParseStream<'_>, semicolon_ends: bool) -> syn::Result<(TokenStream, bool)> {
    let mut tokens = TokenStream::new();
    while !input.is_empty() && (tokens.is_empty() || semicolon_ends || !begins_item(input)) {
        let token: TokenTree = input.parse()?;
        let last = match &token {
            TokenTree::Punct(punct) => punct.as_char() == ';',
            TokenTree::Group(group) => group.delimiter() == Delimiter::Brace && !semicolon_ends,
            _ => false,
        };
        tokens.append(token);
        if last {
            return Ok((tokens, true));
        }
    }
    Ok((tokens, false))
}

fn begins_item(input: ParseStream<'_>) -> bool {
    input.peek(Token![#]) && input.peek2(Bracket)
        || input.peek(Token![pub])
        || input.peek(Token![async])
        || input.peek(Token![fn])
        || input.peek(Token![const])
        || input.peek(Token![type])
}

/// Skips what stands before a function's name, if it is one.
fn skip_to_function(input: ParseStream<'_>) -> syn::Result<bool> {
    let ahead = input.fork();
    let _ = ahead.parse::<Visibility>();
    while !ahead.peek(Token![fn]) {
        let qualifies = ahead.peek(Token![default])
            || ahead.peek(Token![const])
            || ahead.peek(Token![async])
            || ahead.peek(Token![unsafe])
            || ahead.peek(Token![extern])
            || ahead.peek(LitStr);
        if !qualifies {
            return Ok(false);
        }
        ahead.parse::<TokenTree>()?;
    }
    ahead.parse::<Token![fn]>()?;
    input.advance_to(&ahead);
    Ok(true)
}

/// Then a brace may belong to an expression and does not end the item.
fn is_const_or_type(input: ParseStream<'_>) -> bool {
    let ahead = input.fork();
    let read = ahead.parse::<Visibility>().is_ok() && ahead.parse::<Option<Token![default]>>().is_ok();
    read && (ahead.peek(Token![const]) || ahead.peek(Token![type]))
}

impl ToTokens for Item {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        if self.is_broken() {
            return;
        }
        // Handlers have to be `async`, whether they wait for anything or not.
        if !self.marks.is_empty() && self.signature().is_some() {
            tokens.extend(quote!(#[allow(clippy::unused_async)]));
        }
        tokens.append_all(&self.attrs);
        match &self.kind {
            Kind::Function { vis, defaultness, signature, body } => {
                tokens.extend(quote!(#vis #defaultness #signature #body));
            }
            Kind::Other(item) => tokens.extend(item.clone()),
            Kind::Broken => {}
        }
    }
}
