//! Reads lists of options, the content of every attribute of ours: `key = "type", flat`.

use proc_macro2::TokenTree;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Data, Ident, LitStr, Path, Token, Type};

use crate::errors::Errors;

/// Reads options up to the end of the input. An invalid option is reported and skipped; those after it are still read.
///
/// `option` reads one and returns its name, which must not appear again.
pub(crate) fn list(
    input: ParseStream<'_>,
    errors: &mut Errors,
    mut option: impl FnMut(ParseStream<'_>, &mut Errors) -> syn::Result<Option<Ident>>,
) -> syn::Result<()> {
    let mut seen = Vec::new();
    while !input.is_empty() {
        match option(input, errors) {
            Ok(_) if !ends(input) => errors.push(at_token(input, "expected `,`")),
            Ok(Some(name)) if seen.contains(&name) => {
                errors.at(&name, format_args!("`{name}` is given twice"));
            }
            Ok(name) => seen.extend(name),
            Err(error) => errors.push(error),
        }
        while !ends(input) {
            input.parse::<TokenTree>()?;
        }
        input.parse::<Option<Token![,]>>()?;
    }
    Ok(())
}

/// Reads a [`list`] in which each option begins with its name. `option` reads what follows the name.
pub(crate) fn named(
    input: ParseStream<'_>,
    errors: &mut Errors,
    expected: &str,
    mut option: impl FnMut(&Ident, ParseStream<'_>) -> syn::Result<()>,
) -> syn::Result<()> {
    list(input, errors, |input, _| {
        let name = input.call(Ident::parse_any).map_err(|error| syn::Error::new(error.span(), expected))?;
        option(&name, input)?;
        Ok(Some(name))
    })
}

/// Returns the error for a name that is not one of the options.
pub(crate) fn unknown(name: &Ident, expected: &str) -> syn::Error {
    syn::Error::new(name.span(), format!("unknown option `{name}`; {expected}"))
}

/// Whether the current option is completely read.
pub(crate) fn ends(input: ParseStream<'_>) -> bool {
    input.is_empty() || input.peek(Token![,])
}

/// Checks that nothing follows the name of an option.
pub(crate) fn flag(name: &Ident, input: ParseStream<'_>) -> syn::Result<()> {
    if ends(input) { Ok(()) } else { Err(input.error(format_args!("`{name}` takes no value"))) }
}

/// Reads `= value` after an option's name. The error is `expected`, at the name if there is no value at all.
pub(crate) fn value<T>(
    name: &Ident,
    input: ParseStream<'_>,
    parse: fn(ParseStream<'_>) -> syn::Result<T>,
    expected: &str,
) -> syn::Result<T> {
    let equals = input.parse::<Token![=]>();
    let missing = ends(input);
    equals
        .and_then(|_| parse(input))
        .map_err(|error| syn::Error::new(if missing { name.span() } else { error.span() }, expected))
}

/// Reads something that may have several tokens. If the input ends in the middle of it, the error is at its first
/// token, because the end of the input has no place in the user's code.
fn whole<T>(input: ParseStream<'_>, parse: fn(ParseStream<'_>) -> syn::Result<T>) -> syn::Result<T> {
    let first = input.span();
    parse(input).map_err(|error| if input.is_empty() { syn::Error::new(first, error) } else { error })
}

/// Reads `= "…"`.
pub(crate) fn string(name: &Ident, input: ParseStream<'_>, example: &str) -> syn::Result<LitStr> {
    let expected = format!(r#"`{name}` takes a string literal: `{name} = "{example}"`"#);
    value(name, input, <LitStr as Parse>::parse, &expected)
}

/// Reads `= Player` after `session`.
pub(crate) fn session(name: &Ident, input: ParseStream<'_>) -> syn::Result<Type> {
    let parse = |input: ParseStream<'_>| whole(input, <Type as Parse>::parse);
    value(name, input, parse, "`session` takes a type: `session = Player`")
}

/// Reads `= net::engine` after `crate`.
pub(crate) fn krate(name: &Ident, input: ParseStream<'_>) -> syn::Result<Path> {
    let parse = |input: ParseStream<'_>| whole(input, Path::parse_mod_style);
    value(name, input, parse, "`crate` takes a path: `crate = net::engine`")
}

/// Returns an error at the next token, and not at the whole rest of the input.
pub(crate) fn at_token(input: ParseStream<'_>, message: &str) -> syn::Error {
    let token = input.fork().parse::<TokenTree>();
    syn::Error::new(token.map_or_else(|_| input.span(), |token| token.span()), message)
}

/// Reports the attribute of a derive on fields and variants, where it has no meaning.
pub(crate) fn refuse_inside(attribute: &str, data: &Data, errors: &mut Errors) {
    let mut refuse = |attributes: &[Attribute]| {
        for inside in attributes.iter().filter(|inside| inside.path().is_ident(attribute)) {
            errors.at(inside, format_args!("`#[{attribute}]` belongs on the type itself"));
        }
    };
    match data {
        Data::Struct(data) => data.fields.iter().for_each(|field| refuse(&field.attrs)),
        Data::Union(data) => data.fields.named.iter().for_each(|field| refuse(&field.attrs)),
        Data::Enum(data) => data.variants.iter().for_each(|variant| {
            refuse(&variant.attrs);
            variant.fields.iter().for_each(|field| refuse(&field.attrs));
        }),
    }
}

#[cfg(test)]
mod tests {
    use syn::parse::Parser;

    use super::*;

    #[test]
    fn an_incomplete_value_is_reported_at_its_first_token() {
        let read = |input: ParseStream<'_>| {
            let name = input.call(Ident::parse_any)?;
            if name == "crate" { krate(&name, input).map(drop) } else { session(&name, input).map(drop) }
        };
        for (code, column) in [
            ("crate", 0),
            ("crate =", 0),
            ("crate = net::", 8),
            ("session = Vec<", 10),
            ("session = &", 10),
            ("crate = \"net\"", 8),
            ("crate = net::1", 13),
        ] {
            let error = read.parse_str(code).expect_err(code);
            let start = error.span().start();
            assert_eq!((start.line, start.column), (1, column), "{code}");
        }
    }
}
