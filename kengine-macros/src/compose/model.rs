//! The struct whose fields are dispatchers.

use proc_macro2::Span;
use quote::ToTokens;
use syn::parse::ParseStream;
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Field, Ident, Member, Path, Type, parse_quote};

use crate::{errors::Errors, options, spans::at, tokens::enclosed};

const EXPECTED: &str = "expected `session` or `crate`";

/// `#[kengine(session = Player, crate = path)]`
pub(crate) struct CompositionOptions {
    /// The session of all parts, if it cannot be taken from the first one.
    pub(crate) session: Option<Type>,
    pub(crate) krate: Path,
}

/// A struct without faults. Only [`Composition::validate`] makes one.
pub(crate) struct Composition<'a> {
    pub(crate) options: &'a CompositionOptions,
    pub(crate) input: &'a DeriveInput,
    pub(crate) first: Part<'a>,
    others: Vec<Part<'a>>,
}

/// A field with one of the dispatchers.
pub(crate) struct Part<'a> {
    pub(crate) member: Member,
    pub(crate) ty: Type,
    pub(crate) attrs: &'a [Attribute],
    /// Its name in errors.
    pub(crate) name: String,
    /// Where errors about it are reported.
    pub(crate) at: Span,
}

impl CompositionOptions {
    /// Reads the options. An invalid option is reported and left out.
    pub(crate) fn parse(attributes: &[Attribute], errors: &mut Errors) -> Self {
        let mut found = Self { session: None, krate: parse_quote!(::kengine) };
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("kengine")) {
            let read = attribute.parse_args_with(|input: ParseStream<'_>| {
                options::named(input, errors, EXPECTED, |name, input| found.option(name, input))
            });
            errors.ok(read);
        }
        found
    }

    fn option(&mut self, name: &Ident, input: ParseStream<'_>) -> syn::Result<()> {
        match name.to_string().as_str() {
            "session" => self.session = Some(options::session(name, input)?),
            "crate" => self.krate = options::krate(name, input)?,
            _ => return Err(options::unknown(name, EXPECTED)),
        }
        Ok(())
    }
}

impl<'a> Composition<'a> {
    /// Checks the struct. `errors` are the faults found in its options.
    pub(crate) fn validate(
        options: &'a CompositionOptions,
        input: &'a DeriveInput,
        mut errors: Errors,
    ) -> Result<Self, Errors> {
        options::refuse_inside("kengine", &input.data, &mut errors);
        let mut parts = parts(input, &mut errors).into_iter();
        for parameter in input.generics.lifetimes() {
            errors.cannot_borrow(&input.ident, &parameter.lifetime);
        }
        let Some(first) = parts.next() else { return Err(errors) };
        errors.into_result(Self { options, input, first, others: parts.collect() })
    }

    /// Returns all parts, of which there is at least one.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Part<'a>> + Clone {
        std::iter::once(&self.first).chain(&self.others)
    }
}

/// Returns the fields of a struct, or reports that there are none.
fn parts<'a>(input: &'a DeriveInput, errors: &mut Errors) -> Vec<Part<'a>> {
    const STRUCT: &str = "`#[derive(Dispatcher)]` needs a struct with one field for each dispatcher";
    let ident = &input.ident;
    match &input.data {
        Data::Struct(data) if data.fields.is_empty() => {
            errors.at(ident, format_args!("`{ident}` has no fields; give it one for each dispatcher"));
        }
        Data::Struct(data) => return data.fields.members().zip(&data.fields).map(part).collect(),
        Data::Enum(data) => errors.at(data.enum_token, STRUCT),
        Data::Union(data) => errors.at(data.union_token, STRUCT),
    }
    Vec::new()
}

fn part((member, field): (Member, &Field)) -> Part<'_> {
    let name = member.to_token_stream().to_string();
    let at = at(field.ident.as_ref().map_or_else(|| field.ty.span(), Ident::span));
    Part { member, ty: enclosed(&field.ty), attrs: &field.attrs, name, at }
}
