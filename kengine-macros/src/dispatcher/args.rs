//! The options of `#[dispatcher]` itself.

use proc_macro2::{Span, TokenStream};
use syn::parse::{ParseStream, Parser};
use syn::{Ident, LitStr, Path, Type, parse_quote};

use crate::{errors::Errors, options};

/// Names that neither the key nor the payload may have: `id`, and `seq` and `resume` for future versions.
const RESERVED: [&str; 3] = ["id", "seq", "resume"];

const EXPECTED: &str = "expected `key`, `payload`, `flat`, `prefix`, `session` or `crate`";

/// `key = "method", payload = "message", flat, prefix = "combat.", session = Player, crate = path`.
pub(crate) struct Args {
    key: Option<LitStr>,
    payload: Option<LitStr>,
    flat: Option<Ident>,
    /// The text that precedes the name of each route.
    pub(crate) prefix: Option<LitStr>,
    /// The session of a block without an `#[accept]` hook.
    pub(crate) session: Option<Type>,
    /// The path of this framework in the expansion.
    pub(crate) krate: Path,
}

/// The members of a message that name its route and hold its payload.
pub(crate) enum Syntax {
    /// The key. The payload's members are beside it.
    Flat(LitStr),
    /// The key and the payload.
    Nested(LitStr, LitStr),
}

impl Args {
    /// Reads the options. An invalid option is reported and left out.
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Self {
        let mut args =
            Self { key: None, payload: None, flat: None, prefix: None, session: None, krate: parse_quote!(::kengine) };
        let read =
            |input: ParseStream<'_>| options::named(input, errors, EXPECTED, |name, input| args.option(name, input));
        let read = read.parse2(tokens);
        errors.ok(read);
        args.validate(errors);
        args
    }

    fn option(&mut self, name: &Ident, input: ParseStream<'_>) -> syn::Result<()> {
        match name.to_string().as_str() {
            "key" => self.key = Some(options::string(name, input, "method")?),
            "payload" => self.payload = Some(options::string(name, input, "message")?),
            "flat" => {
                options::flag(name, input)?;
                self.flat = Some(name.clone());
            }
            "prefix" => self.prefix = Some(options::string(name, input, "combat.")?),
            "session" => self.session = Some(options::session(name, input)?),
            "crate" => self.krate = options::krate(name, input)?,
            _ => return Err(options::unknown(name, EXPECTED)),
        }
        Ok(())
    }

    /// Checks each option, and whether the options fit together.
    fn validate(&self, errors: &mut Errors) {
        for (name, literal) in [("key", &self.key), ("payload", &self.payload)] {
            let Some(literal) = literal else { continue };
            let value = literal.value();
            if value.is_empty() {
                errors.at(literal, format_args!("`{name}` must not be empty"));
            } else if RESERVED.contains(&value.as_str()) {
                errors.at(literal, format_args!("`{value}` is a reserved member; choose another name"));
            }
        }
        if let Some(prefix) = self.prefix.as_ref().filter(|prefix| prefix.value().is_empty()) {
            errors.at(prefix, "`prefix` must not be empty");
        }
        if let (Some(flat), Some(_)) = (&self.flat, &self.payload) {
            errors.at(flat, "`flat` and `payload` exclude each other; remove one of them");
        } else if let Some(Syntax::Nested(key, payload)) = self.syntax()
            && key.value() == payload.value()
        {
            errors.at(self.payload.as_ref().unwrap_or(&key), "`key` and `payload` must differ");
        }
    }

    /// Returns the syntax of the messages, or `None` if no option changes the default.
    pub(crate) fn syntax(&self) -> Option<Syntax> {
        let or =
            |given: &Option<LitStr>, default| given.clone().unwrap_or_else(|| LitStr::new(default, Span::call_site()));
        let key = or(&self.key, "method");
        match (&self.flat, &self.key, &self.payload) {
            (Some(_), _, _) => Some(Syntax::Flat(key)),
            (None, None, None) => None,
            (None, _, payload) => Some(Syntax::Nested(key, or(payload, "message"))),
        }
    }
}
