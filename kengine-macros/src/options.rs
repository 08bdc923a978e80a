//! Lists of options, as every attribute of ours has one: `key = "type", flat`.

use proc_macro2::TokenTree;
use syn::{
    Attribute, Data, Ident, Path, Token, Type,
    parse::{Parse, ParseStream},
};

use crate::errors::Errors;

/// Reads each option to the comma behind it. A wrong one is reported and left out, and the ones behind it are still
/// read.
///
/// `option` reads one and says its name, where it may not be given again.
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

/// Whether nothing of an option is left.
pub(crate) fn ends(input: ParseStream<'_>) -> bool {
    input.is_empty() || input.peek(Token![,])
}

/// `= value` behind an option's name, or the error that says what is expected: on the name where there is nothing.
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

/// An error on the one token that comes next.
pub(crate) fn at_token(input: ParseStream<'_>, message: &str) -> syn::Error {
    let token = input.fork().parse::<TokenTree>();
    syn::Error::new(token.map_or_else(|_| input.span(), |token| token.span()), message)
}

/// Refuses the attribute of a derive on the fields and variants of the type, where it would say nothing.
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

/// `= Player`, behind `session`.
pub(crate) fn session(name: &Ident, input: ParseStream<'_>) -> syn::Result<Type> {
    value(name, input, <Type as Parse>::parse, "`session` takes a type: `session = Player`")
}

/// `= net::engine`, behind `crate`.
pub(crate) fn krate(name: &Ident, input: ParseStream<'_>) -> syn::Result<Path> {
    value(name, input, Path::parse_mod_style, "`crate` takes a path: `crate = net::engine`")
}
