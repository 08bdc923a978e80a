//! The struct or enum that is a push, and the options of its `#[push]`.

use heck::ToSnakeCase;
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::spanned::Spanned;
use syn::token::Paren;
use syn::{Attribute, Data, DeriveInput, Fields, Ident, LitStr, Member, Meta, Path, Type, parenthesized, parse_quote};

use crate::errors::Errors;
use crate::options::{self, at_token, ends};

const EXPECTED: &str = "expected a name in quotes, `reliable`, `latest`, `latest(…)` or `crate`";
const NO_NAME: &str = r#"a push's name is a string literal: `#[push("position")]`"#;

/// `#[push("position", latest(player), crate = path)]`.
pub(crate) struct PushOptions {
    name: Option<LitStr>,
    reliable: Option<Ident>,
    latest: Option<Ident>,
    /// The fields of `latest(…)`.
    key: Vec<Member>,
    krate: Path,
}

/// A push without faults, made by [`Push::validate`], or what stands in for one with faults.
pub(crate) struct Push<'a> {
    pub(crate) krate: &'a Path,
    pub(crate) name: LitStr,
    pub(crate) input: &'a DeriveInput,
    pub(crate) delivery: Delivery<'a>,
}

pub(crate) enum Delivery<'a> {
    Reliable,
    /// With the fields that tell pushes of this type apart.
    Latest(Vec<(&'a Member, &'a Type)>),
}

impl PushOptions {
    /// Reads the options. An invalid option is reported and left out.
    pub(crate) fn parse(attributes: &[Attribute], errors: &mut Errors) -> Self {
        let mut found =
            Self { name: None, reliable: None, latest: None, key: Vec::new(), krate: parse_quote!(::kengine) };
        let mut attributes = attributes.iter().filter(|attribute| attribute.path().is_ident("push"));
        let Some(first) = attributes.next() else { return found };
        for second in attributes {
            errors.at(second, "`#[push]` is given twice; put everything into one");
        }
        let list = match &first.meta {
            Meta::List(list) => list.tokens.clone(),
            Meta::Path(_) => return found,
            Meta::NameValue(_) => {
                errors.at(&first.meta, r#"the name goes in parentheses: `#[push("position")]`"#);
                return found;
            }
        };
        let read = |input: ParseStream<'_>| options::list(input, errors, |input, errors| found.option(input, errors));
        let read = read.parse2(list);
        errors.ok(read);
        if let (Some(_), Some(latest)) = (&found.reliable, &found.latest) {
            errors.at(latest, "`reliable` and `latest` exclude each other; remove one of them");
        }
        found
    }

    fn option(&mut self, input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<Option<Ident>> {
        if input.peek(LitStr) {
            return self.name(&input.parse()?, errors).map(|()| None);
        }
        if !input.peek(Ident::peek_any) {
            return Err(at_token(input, NO_NAME));
        }
        let option = input.call(Ident::parse_any)?;
        match option.to_string().as_str() {
            "reliable" => {
                options::flag(&option, input)?;
                self.reliable = Some(option.clone());
            }
            "latest" => {
                if input.peek(Paren) {
                    self.key = key(input, errors)?;
                } else if !ends(input) {
                    return Err(input.error("`latest` takes fields in parentheses: `latest(player)`"));
                }
                self.latest = Some(option.clone());
            }
            "crate" => self.krate = options::krate(&option, input)?,
            _ => return Err(options::unknown(&option, EXPECTED)),
        }
        Ok(Some(option))
    }

    fn name(&mut self, name: &LitStr, errors: &mut Errors) -> syn::Result<()> {
        if self.name.is_some() {
            return Err(syn::Error::new(name.span(), "the name is given twice"));
        }
        if name.value().is_empty() {
            errors.at(name, "a push's name must not be empty");
        } else if !name.suffix().is_empty() {
            errors.at(name, NO_NAME);
        }
        // Without the suffix, which rustc would report a second time.
        self.name = Some(LitStr::new(&name.value(), name.span()));
        Ok(())
    }
}

/// Reads the fields in the parentheses after `latest`.
fn key(input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<Vec<Member>> {
    let content;
    let paren = parenthesized!(content in input);
    if content.is_empty() {
        let message = "name fields of the struct, or write `latest` alone to keep one waiting push of the type";
        errors.push(syn::Error::new(paren.span.join(), message));
    }
    let mut key: Vec<Member> = Vec::new();
    options::list(&content, errors, |content, errors| {
        let member: Member = content
            .parse()
            .map_err(|error: syn::Error| syn::Error::new(error.span(), "expected a field: `latest(player)`"))?;
        if !ends(content) {
            let message = format!("expected `,` after `{}`", shown(&member));
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

impl<'a> Push<'a> {
    /// Checks the type against its options. `errors` are the faults found in the options.
    pub(crate) fn validate(
        options: &'a PushOptions,
        input: &'a DeriveInput,
        mut errors: Errors,
    ) -> Result<Self, Errors> {
        options::refuse_inside("push", &input.data, &mut errors);
        let inert = Self::inert(options, input);
        if inert.name.value().is_empty() && options.name.is_none() {
            let message = format!(r#"the name of `{}` has no letters; add one: `#[push("position")]`"#, input.ident);
            errors.at(&input.ident, message);
        }
        if let "joined" | "left" = &*inert.name.value() {
            let message = "`joined` and `left` are the presence pushes of rooms; choose another name";
            errors.at(&inert.name, message);
        }
        let fields = fields(input, &options.key, &mut errors);
        let delivery = if options.latest.is_some() { Delivery::Latest(fields) } else { Delivery::Reliable };
        errors.into_result(Self { delivery, ..inert })
    }

    /// Returns what stands in for a push with faults: its name, and nothing that a fault may concern.
    pub(crate) fn inert(options: &'a PushOptions, input: &'a DeriveInput) -> Self {
        let ident = &input.ident;
        let own = || LitStr::new(&ident.unraw().to_string().to_snake_case(), ident.span());
        let name = options.name.clone().unwrap_or_else(own);
        Self { krate: &options.krate, name, input, delivery: Delivery::Reliable }
    }
}

/// Returns the fields of the key. Their members have the attribute's spans, where rustc reports a type that is not
/// `Serialize`.
fn fields<'a>(input: &'a DeriveInput, key: &'a [Member], errors: &mut Errors) -> Vec<(&'a Member, &'a Type)> {
    let ident = &input.ident;
    let mut found = Vec::new();
    match &input.data {
        Data::Struct(data) => {
            for member in key {
                if let Some((_, field)) = data.fields.members().zip(&data.fields).find(|(own, _)| own == member) {
                    found.push((member, &field.ty));
                } else {
                    let (shown, choice) = (shown(member), choice(&data.fields));
                    errors.at(member, format_args!("`{ident}` has no field `{shown}`; {choice}"));
                }
            }
        }
        Data::Union(data) => {
            errors.at(data.union_token, format_args!("a push is a struct or an enum; make `{ident}` one"));
        }
        Data::Enum(_) => {
            if let Some(first) = key.first() {
                let message = "only a struct has fields to tell its pushes apart; write `latest` alone";
                errors.at(first, message);
            }
        }
    }
    found
}

/// Returns the end of an error: what could be named instead.
fn choice(fields: &Fields) -> String {
    let names: Vec<_> = fields.members().map(|member| format!("`{}`", shown(&member))).collect();
    match names.as_slice() {
        [] => "it has no fields: write `latest` alone".to_owned(),
        [only] => format!("expected {only}"),
        [front @ .., last] => format!("expected {} or {last}", front.join(", ")),
    }
}

fn shown(member: &Member) -> String {
    member.to_token_stream().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_without_a_name_has_that_of_its_type_in_snake_case() {
        for (ident, name) in [
            ("Joined", "joined"),
            ("PlayerMoved", "player_moved"),
            ("HTTPStatus", "http_status"),
            ("StatusHTTP", "status_http"),
            ("Vec2Moved", "vec2_moved"),
            ("Already_Snake", "already_snake"),
            ("r#X", "x"),
        ] {
            let input = syn::parse_str(&format!("struct {ident};")).expect("a struct");
            let options = PushOptions::parse(&[], &mut Errors::default());
            assert_eq!(Push::inert(&options, &input).name.value(), name);
        }
    }
}
