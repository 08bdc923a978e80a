//! One item of a block, which may be incomplete because it is being typed.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::{ToTokens, TokenStreamExt, quote};
use syn::parse::ParseStream;
use syn::parse::discouraged::Speculative;
use syn::token::{Brace, Bracket};
use syn::{Attribute, LitStr, Path, Signature, Token, Visibility};

use super::attr::{self, Mark};
use crate::errors::Errors;
use crate::spans::at;

/// An item without our attributes.
pub(crate) struct Item {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) marks: Vec<Mark>,
    pub(crate) content: Content,
}

pub(crate) enum Content {
    Function {
        vis: Visibility,
        defaultness: Option<Token![default]>,
        signature: Box<Signature>,
        /// Kept unparsed: rustc reports what is wrong in it, and new syntax needs no new parser.
        body: TokenStream,
    },
    Other(TokenStream),
    /// An incomplete item. It has been reported and is left out; the items around it stay as they are.
    Incomplete,
}

impl Item {
    /// Reads one item; consumes at least one token.
    pub(crate) fn parse(input: ParseStream<'_>, krate: &Path, errors: &mut Errors) -> syn::Result<Self> {
        let mut attrs = attr::parse(input, krate, errors)?;
        let marks = attr::take(&mut attrs, krate, errors);
        let content = errors.ok(Content::parse(input)).unwrap_or(Content::Incomplete);
        Ok(Self { attrs, marks, content })
    }
}

impl Content {
    /// Fails on an incomplete item, after skipping it.
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        if input.is_empty() {
            // Attributes without an item, which rustc has already reported.
            return Ok(Self::Incomplete);
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
                Err(syn::Error::new(error.span(), "this signature is incomplete; the method is ignored"))
            }
            Err(_) => {
                let semicolon_ends = is_const_or_type(input);
                let start = input.span();
                match item(input, semicolon_ends)? {
                    (tokens, true) => Ok(Self::Other(tokens)),
                    (_, false) => Err(syn::Error::new(start, "this item is incomplete and is ignored")),
                }
            }
        }
    }
}

/// Reads a function's body, or the semicolon in its place. If there is neither, rustc has already reported it.
fn body(input: ParseStream<'_>) -> syn::Result<TokenStream> {
    if input.peek(Brace) || input.peek(Token![;]) {
        input.parse::<TokenTree>().map(TokenStream::from)
    } else {
        Ok(quote!({ loop {} }))
    }
}

/// Reads the tokens of an item, up to its end or to where the next one begins, and returns whether it is complete.
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

/// Skips everything before a function's name, if the item is a function.
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

/// Whether the item is a `const` or a `type`. It ends only with a semicolon, because a brace in it may belong to an
/// expression.
fn is_const_or_type(input: ParseStream<'_>) -> bool {
    let ahead = input.fork();
    let read = ahead.parse::<Visibility>().is_ok() && ahead.parse::<Option<Token![default]>>().is_ok();
    read && (ahead.peek(Token![const]) || ahead.peek(Token![type]))
}

impl ToTokens for Item {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let attrs = &self.attrs;
        match &self.content {
            Content::Function { vis, defaultness, signature, body } => {
                let mut signature = signature.clone();
                let is_valid = signature.constness.is_none() && !body.to_string().starts_with(';');
                if let (Some(token), true) = (&mut signature.asyncness, is_valid && !self.marks.is_empty()) {
                    // A span of the macro, because `clippy::unused_async` does not report generated functions. Handlers
                    // must be `async`, whether they wait for anything or not.
                    token.span = at(token.span);
                }
                tokens.extend(quote!(#(#attrs)* #vis #defaultness #signature #body));
            }
            Content::Other(item) => tokens.extend(quote!(#(#attrs)* #item)),
            Content::Incomplete => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use syn::parse::Parser;
    use syn::parse_quote;

    use super::*;

    /// Returns the items of a block that are kept, without spaces, and the errors.
    fn read(block: &str) -> (Vec<String>, String) {
        let mut errors = Errors::default();
        let read = |input: ParseStream<'_>| {
            let mut items = Vec::new();
            while !input.is_empty() {
                items.push(Item::parse(input, &parse_quote!(kengine), &mut errors)?);
            }
            Ok(items)
        };
        let items = read.parse_str(block).unwrap_or_else(|error| panic!("{block}: {error}"));
        let kept = items.iter().map(|item| item.to_token_stream().to_string().replace(' ', ""));
        let kept = kept.filter(|item| !item.is_empty()).collect();
        (kept, errors.to_token_stream().to_string())
    }

    #[test]
    fn complete_items_are_kept() {
        for (block, kept) in [
            ("fn f() { 1 }", &["fnf(){1}"][..]),
            ("fn f();", &["fnf();"]),
            ("const A: u8 = { 1 }; fn f() {}", &["constA:u8={1};", "fnf(){}"]),
            ("pub const A: u8 = { 1 } + 1;", &["pubconstA:u8={1}+1;"]),
            ("default type A = [u8; { 1 }];", &["defaulttypeA=[u8;{1}];"]),
            ("name! { a } fn f() {}", &["name!{a}", "fnf(){}"]),
            ("a b [1]; fn f() {}", &["ab[1];", "fnf(){}"]),
        ] {
            assert_eq!(read(block), (kept.iter().map(ToString::to_string).collect(), String::new()), "{block}");
        }
    }

    #[test]
    fn an_incomplete_item_ends_where_the_next_one_begins() {
        for next in
            ["#[a] fn f() {}", "pub fn f() {}", "async fn f() {}", "fn f() {}", "const A: u8 = 1;", "type A = u8;"]
        {
            let (kept, errors) = read(&format!("word another {next}"));
            assert_eq!(kept, [next.replace(' ', "")]);
            assert_eq!(errors.matches("compile_error").count(), 1, "{errors}");
            assert!(errors.contains("this item is incomplete"), "{errors}");
        }
    }

    #[test]
    fn an_incomplete_signature_is_one_error() {
        for before in ["", "pub", "default", "const", "async", "unsafe", "extern", "extern \"C\"", "pub const async"] {
            let (kept, errors) = read(&format!("{before} fn partial fn f() {{}}"));
            assert_eq!(kept, ["fnf(){}"], "{before}");
            assert_eq!(errors.matches("compile_error").count(), 1, "{before}: {errors}");
            assert!(errors.contains("this signature is incomplete"), "{before}: {errors}");
        }
    }

    #[test]
    fn a_missing_body_is_replaced() {
        assert_eq!(read("fn f()").0, ["fnf(){loop{}}"]);
    }
}
