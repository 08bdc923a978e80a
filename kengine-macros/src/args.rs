//! The options of `#[dispatcher]` itself.

use proc_macro2::TokenStream;
use syn::{
    Ident, LitStr, Path, Type,
    ext::IdentExt,
    parse::{Parse, ParseStream, Parser},
    parse_quote,
};

use crate::{
    errors::Errors,
    options::{self, ends, value},
};

/// The members that every request may have, whatever the key and the payload are called.
const RESERVED: [&str; 3] = ["id", "seq", "resume"];

const EXPECTED: &str = "expected `key`, `payload`, `flat`, `prefix`, `session` or `crate`";

/// `key = "method", payload = "message", flat, prefix = "combat.", session = Player, crate = path`.
pub(crate) struct Args {
    pub(crate) key: Option<LitStr>,
    pub(crate) payload: Option<LitStr>,
    pub(crate) flat: Option<Ident>,
    /// What stands before the name of each route.
    pub(crate) prefix: Option<LitStr>,
    /// The session of a block that has no `#[accept]` of its own.
    pub(crate) session: Option<Type>,
    /// What the expansion calls this framework.
    pub(crate) krate: Path,
}

impl Args {
    /// Reads the options. A wrong one is reported and left out, and the ones behind it are still read.
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Self {
        let mut args = Self {
            key: None,
            payload: None,
            flat: None,
            prefix: None,
            session: None,
            krate: parse_quote!(::kengine),
        };
        let read =
            |input: ParseStream<'_>| options::list(input, errors, |input, _| args.option(input).map(Some));
        if let Err(error) = read.parse2(tokens) {
            errors.push(error);
        }
        args.validate(errors);
        args
    }

    fn option(&mut self, input: ParseStream<'_>) -> syn::Result<Ident> {
        let name = input.call(Ident::parse_any).map_err(|error| syn::Error::new(error.span(), EXPECTED))?;
        match name.to_string().as_str() {
            "key" => {
                self.key = Some(member(&name, input, r#"`key` takes a string literal: `key = "method"`"#)?);
            }
            "payload" => {
                self.payload =
                    Some(member(&name, input, r#"`payload` takes a string literal: `payload = "message"`"#)?);
            }
            "flat" if ends(input) => self.flat = Some(name.clone()),
            "flat" => return Err(input.error("`flat` takes no value")),
            "prefix" => {
                self.prefix =
                    Some(member(&name, input, r#"`prefix` takes a string literal: `prefix = "combat."`"#)?);
            }
            "session" => {
                self.session = Some(options::session(&name, input)?);
            }
            "crate" => {
                self.krate = options::krate(&name, input)?;
            }
            unknown => {
                let message = format!("unknown option `{unknown}`; {EXPECTED}");
                return Err(syn::Error::new(name.span(), message));
            }
        }
        Ok(name)
    }

    fn validate(&self, errors: &mut Errors) {
        for (name, literal) in [("key", &self.key), ("payload", &self.payload)] {
            let Some(literal) = literal else { continue };
            let value = literal.value();
            if value.is_empty() {
                errors.at(literal, format_args!("`{name}` must not be empty"));
            } else if RESERVED.contains(&value.as_str()) {
                errors.at(literal, format_args!("`{value}` is a member of its own; choose another name"));
            }
        }
        if let Some(prefix) = self.prefix.as_ref().filter(|prefix| prefix.value().is_empty()) {
            errors.at(prefix, "`prefix` must not be empty");
        }
        if let (Some(flat), Some(_)) = (&self.flat, &self.payload) {
            errors.at(flat, "`flat` and `payload` exclude each other; remove one of them");
        } else if self.flat.is_none()
            && self.key_name() == self.payload_name()
            && let Some(literal) = self.payload.as_ref().or(self.key.as_ref())
        {
            errors.at(literal, "`key` and `payload` must differ");
        }
    }

    fn key_name(&self) -> String {
        self.key.as_ref().map_or_else(|| "method".into(), LitStr::value)
    }

    fn payload_name(&self) -> String {
        self.payload.as_ref().map_or_else(|| "message".into(), LitStr::value)
    }
}

/// `= "…"`, or the error that says what is expected.
fn member(name: &Ident, input: ParseStream<'_>, expected: &str) -> syn::Result<LitStr> {
    value(name, input, <LitStr as Parse>::parse, expected)
}
