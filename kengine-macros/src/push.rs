//! `#[derive(Push)]`.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{
    Attribute, Data, DeriveInput, Fields, Ident, LitStr, Member, Meta, Path, Type,
    ext::IdentExt,
    parenthesized,
    parse::{ParseStream, Parser},
    parse_quote,
    spanned::Spanned,
    token::Paren,
};

use crate::{
    errors::Errors,
    model::mentions_parameter,
    options::{self, at_token, ends},
};

const EXPECTED: &str = "expected a name in quotes, `reliable`, `latest`, `latest(…)` or `crate`";

/// `#[push("position", latest(player), crate = path)]`.
struct Options {
    name: Option<LitStr>,
    reliable: Option<Ident>,
    latest: Option<Ident>,
    /// Those of `latest(…)`.
    key: Vec<Member>,
    krate: Path,
}

/// The implementation for a struct or an enum.
pub(crate) fn derive(item: TokenStream) -> TokenStream {
    let input: DeriveInput = match syn::parse2(item) {
        Ok(input) => input,
        Err(error) => return error.into_compile_error(),
    };
    let mut errors = Errors::default();
    let found = Options::parse(&input.attrs, &mut errors);
    options::refuse_inside("push", &input.data, &mut errors);
    let fields = fields(&input, &found, &mut errors);

    let krate = &found.krate;
    let name = match &found.name {
        Some(name) => name.clone(),
        None => LitStr::new(&snake_case(&input.ident.unraw().to_string()), input.ident.span()),
    };
    let failed = !errors.is_empty();
    let errors = errors.into_tokens();
    if failed && matches!(input.data, Data::Union(_)) {
        // It is no `Serialize` either, most likely: one error is enough.
        return quote!(#errors);
    }
    let latest = (!failed && found.latest.is_some())
        .then(|| quote!(const DELIVERY: #krate::push::Delivery = #krate::push::Delivery::Latest;));
    let key = (!failed && !fields.is_empty()).then(|| {
        // Nested pairs, since serde implements `Serialize` for tuples of at most 16.
        let key = fields.iter().rev().fold(quote!(()), |rest, (member, _)| {
            let at = Span::call_site().located_at(member.span());
            quote_spanned!(at=> (#krate::__private::key_field(&self.#member), #rest))
        });
        quote! {
            fn key(&self) -> impl #krate::__private::Serialize {
                #key
            }
        }
    });

    let ident = &input.ident;
    let mut bounded = input.generics.clone();
    // What serde's derive asks of the parameters is serde's to know.
    if input.generics.type_params().next().is_some() {
        let (_, arguments, _) = input.generics.split_for_impl();
        let clause = bounded.make_where_clause();
        clause.predicates.push(parse_quote!(#ident #arguments: #krate::__private::IsSerialize));
        for (_, ty) in fields.iter().filter(|(_, ty)| mentions_parameter(&input.generics, ty)) {
            clause.predicates.push(parse_quote!(#ty: #krate::__private::Serialize));
        }
    }
    let (_, arguments, _) = input.generics.split_for_impl();
    let (generics, _, clause) = bounded.split_for_impl();
    quote! {
        #errors
        #[automatically_derived]
        impl #generics #krate::Push for #ident #arguments #clause {
            const NAME: &'static str = #name;
            #latest
            #key
        }
    }
}

impl Options {
    /// Reads the options. A wrong one is reported and left out, and the ones behind it are still read.
    fn parse(attributes: &[Attribute], errors: &mut Errors) -> Self {
        let mut found = Self {
            name: None,
            reliable: None,
            latest: None,
            key: Vec::new(),
            krate: parse_quote!(::kengine),
        };
        let mut attributes = attributes.iter().filter(|attribute| attribute.path().is_ident("push"));
        let Some(first) = attributes.next() else { return found };
        for second in attributes {
            errors.at(second, "`#[push]` is given twice; put everything into one");
        }
        let list = match &first.meta {
            Meta::List(list) => list.tokens.clone(),
            Meta::Path(_) => return found,
            Meta::NameValue(_) => {
                errors.at(&first.meta, r#"the name stands in parentheses: `#[push("position")]`"#);
                return found;
            }
        };
        let read = |input: ParseStream<'_>| {
            options::list(input, errors, |input, errors| found.option(input, errors))
        };
        if let Err(error) = read.parse2(list) {
            errors.push(error);
        }
        if let (Some(_), Some(latest)) = (&found.reliable, &found.latest) {
            errors.at(latest, "`reliable` and `latest` exclude each other; remove one of them");
        }
        found
    }

    fn option(&mut self, input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<Option<Ident>> {
        if input.peek(LitStr) {
            let name: LitStr = input.parse()?;
            if self.name.is_some() {
                return Err(syn::Error::new(name.span(), "the name is given twice"));
            }
            if name.value().is_empty() {
                errors.at(&name, "a push's name must not be empty");
            } else if !name.suffix().is_empty() {
                errors.at(&name, r#"a push's name is a string literal: `#[push("position")]`"#);
            }
            // Without a suffix, which would be a second error.
            self.name = Some(LitStr::new(&name.value(), name.span()));
            Ok(None)
        } else if input.peek(Ident::peek_any) {
            let option = input.call(Ident::parse_any)?;
            match option.to_string().as_str() {
                "reliable" if ends(input) => self.reliable = Some(option.clone()),
                "reliable" => return Err(input.error("`reliable` takes no value")),
                "latest" => {
                    if input.peek(Paren) {
                        let key = key(input, errors)?;
                        if self.latest.is_none() {
                            self.key = key;
                        }
                    } else if !ends(input) {
                        return Err(input.error("`latest` takes fields in parentheses: `latest(player)`"));
                    }
                    self.latest.get_or_insert_with(|| option.clone());
                }
                "crate" => {
                    self.krate = options::krate(&option, input)?;
                }
                unknown => {
                    let message = format!("unknown option `{unknown}`; {EXPECTED}");
                    return Err(syn::Error::new(option.span(), message));
                }
            }
            Ok(Some(option))
        } else {
            Err(at_token(input, r#"a push's name is a string literal: `#[push("position")]`"#))
        }
    }
}

/// The fields in the parentheses behind `latest`.
fn key(input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<Vec<Member>> {
    let content;
    let paren = parenthesized!(content in input);
    if content.is_empty() {
        let message = "name fields of the struct, or write `latest` alone: one waiting per type";
        errors.push(syn::Error::new(paren.span.join(), message));
    }
    let mut key: Vec<Member> = Vec::new();
    options::list(&content, errors, |content, errors| {
        let member: Member = content.parse().map_err(|error: syn::Error| {
            syn::Error::new(error.span(), "expected a field: `latest(player)`")
        })?;
        if !ends(content) {
            let message = format!("expected `,` behind `{}`", shown(&member));
            return Err(syn::Error::new(member.span(), message));
        }
        if key.contains(&member) {
            errors.at(&member, format_args!("`{}` is given twice", shown(&member)));
        } else {
            key.push(member);
        }
        Ok(None)
    })?;
    Ok(key)
}

/// The fields that make the key, as the struct has them.
fn fields<'a>(input: &'a DeriveInput, options: &Options, errors: &mut Errors) -> Vec<(Member, &'a Type)> {
    let ident = &input.ident;
    let fields = match &input.data {
        Data::Struct(data) => &data.fields,
        Data::Union(data) => {
            errors.at(data.union_token, format_args!("a push is a struct or an enum; make `{ident}` one"));
            return Vec::new();
        }
        Data::Enum(_) => {
            if let Some(first) = options.key.first() {
                let message = "only a struct has fields to tell its pushes apart; write `latest` alone";
                errors.at(first, message);
            }
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for member in &options.key {
        match fields.members().zip(fields).find(|(own, _)| own == member) {
            // The attribute's token, where a type that cannot be hashed is reported.
            Some((_, field)) => found.push((member.clone(), &field.ty)),
            None => errors
                .at(member, format_args!("`{ident}` has no field `{}`; {}", shown(member), choice(fields))),
        }
    }
    found
}

/// What could have been meant.
fn choice(fields: &Fields) -> String {
    let names: Vec<_> = fields.members().map(|member| format!("`{}`", shown(&member))).collect();
    match names.as_slice() {
        [] => "it has none: write `latest` alone".to_owned(),
        [only] => format!("expected {only}"),
        [front @ .., last] => format!("expected {} or {last}", front.join(", ")),
    }
}

fn shown(member: &Member) -> String {
    member.to_token_stream().to_string()
}

/// `PlayerMoved` → `player_moved`, `HTTPStatus` → `http_status`.
fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut snake = String::with_capacity(name.len() + 4);
    for (index, &letter) in letters.iter().enumerate() {
        let before = index.checked_sub(1).map(|before| letters[before]);
        let word = letter.is_uppercase()
            && before.is_some_and(|before| {
                let next_is_lower = letters.get(index + 1).is_some_and(|next| next.is_lowercase());
                before != '_' && (!before.is_uppercase() || next_is_lower)
            });
        if word {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_snake_case() {
        for (name, snake) in [
            ("Joined", "joined"),
            ("PlayerMoved", "player_moved"),
            ("HTTPStatus", "http_status"),
            ("StatusHTTP", "status_http"),
            ("Vec2Moved", "vec2_moved"),
            ("Already_Snake", "already_snake"),
            ("X", "x"),
        ] {
            assert_eq!(snake_case(name), snake);
        }
    }
}
