//! Spans that decide where rustc reports an error in generated code.

use proc_macro2::{Group, Span, TokenStream, TokenTree};
use syn::{GenericArgument, PathArguments, ReturnType, Signature, Type, spanned::Spanned};

use crate::tokens::plain;

/// Returns a span for generated code whose errors are reported at `span`.
pub(crate) fn at(span: Span) -> Span {
    Span::call_site().located_at(span)
}

/// Returns the same tokens, with their errors reported at `span`.
pub(crate) fn respanned(tokens: TokenStream, span: Span) -> TokenStream {
    let token = |token| match token {
        TokenTree::Group(group) => {
            let mut group = Group::new(group.delimiter(), respanned(group.stream(), span));
            group.set_span(span);
            TokenTree::Group(group)
        }
        mut token => {
            token.set_span(token.span().located_at(span));
            token
        }
    };
    tokens.into_iter().map(token).collect()
}

/// Where to report what is wrong with a method's return type.
pub(crate) struct ReturnSpans {
    /// For the `T` of `Result<T, E>`, or for any other type.
    pub(crate) value: Span,
    /// For the `E` of `Result<T, E>`.
    pub(crate) error: Span,
}

impl ReturnSpans {
    /// Recognizes a `Result` only by its name. Errors about a `Result` under another name are reported at the whole
    /// type.
    pub(crate) fn of(signature: &Signature) -> Self {
        let ReturnType::Type(_, ty) = &signature.output else {
            let name = at(signature.ident.span());
            return Self { value: name, error: name };
        };
        let ty = plain(ty);
        let mut parts = Vec::new();
        if let Type::Path(path) = ty
            && let Some(last) = path.path.segments.last()
            && last.ident == "Result"
            && let PathArguments::AngleBracketed(list) = &last.arguments
        {
            parts.extend(list.args.iter().filter_map(|argument| match argument {
                GenericArgument::Type(ty) => Some(ty.span()),
                _ => None,
            }));
        }
        let part = |index| at(parts.get(index).copied().unwrap_or_else(|| ty.span()));
        Self { value: part(0), error: part(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_point_at_the_parts_of_a_result() {
        let text = |code: &str| {
            let signature: Signature = syn::parse_str(code).unwrap();
            let spans = ReturnSpans::of(&signature);
            [spans.value, spans.error].map(|span| span.start().column)
        };
        assert_eq!(text("fn f() -> Result<A, B>"), [17, 20]);
        assert_eq!(text("fn f() -> Result<A>"), [17, 10]);
        assert_eq!(text("fn f() -> Option<A>"), [10, 10]);
        assert_eq!(text("fn f()"), [3, 3]);
    }
}
