//! Our attributes on the items of a block: found, read, and taken out.

use std::fmt;

use proc_macro2::{Group, TokenStream};
use quote::quote;
use syn::{
    Attribute, Ident, LitStr, Meta, Path, Token,
    ext::IdentExt,
    parse::{ParseStream, Parser},
    parse_quote,
    punctuated::Punctuated,
    token::Bracket,
};

use crate::{errors::Errors, policy::Policy};

/// What a method is marked as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Route,
    Heartbeat,
    Accept,
    Open,
    Close,
    Before,
    Fallback,
}

impl Kind {
    const ALL: [Self; 7] =
        [Self::Route, Self::Heartbeat, Self::Accept, Self::Open, Self::Close, Self::Before, Self::Fallback];

    /// The attribute's name, which is also what the method is called in errors.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Heartbeat => "heartbeat",
            Self::Accept => "accept",
            Self::Open => "open",
            Self::Close => "close",
            Self::Before => "before",
            Self::Fallback => "fallback",
        }
    }

    /// The method in a sentence: a block has any number of routes and one of each other kind.
    fn noun(self) -> String {
        match self {
            Self::Route => "a route".into(),
            Self::Heartbeat | Self::Fallback => format!("the {self}"),
            hook => format!("the `#[{hook}]` hook"),
        }
    }

    /// Several of the kind.
    pub(crate) fn plural(self) -> String {
        match self {
            Self::Route | Self::Heartbeat | Self::Fallback => format!("{self}s"),
            hook => format!("`#[{hook}]` hooks"),
        }
    }

    /// The kind of an attribute of this path: `route`, `kengine::route`, or behind the path given as `crate`.
    fn of(path: &Path, krate: &Path) -> Option<Self> {
        let name = &path.segments.last()?.ident;
        let kind = Self::ALL.into_iter().find(|kind| name == kind.name())?;
        let parent = || path.segments.iter().take(path.segments.len() - 1).map(|segment| &segment.ident);
        let ours = parent().next().is_none()
            || parent().eq(["kengine"])
            || parent().eq(krate.segments.iter().map(|segment| &segment.ident));
        ours.then_some(kind)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One of our attributes on an item.
pub(crate) struct Mark {
    pub(crate) kind: Kind,
    name: Name,
    pub(crate) policy: Policy,
    pub(crate) original: Attribute,
}

/// What stands in the parentheses of `#[route("name")]`.
enum Name {
    Given(LitStr),
    /// There are none: it is the method's own.
    Own,
    /// Not a name; that has been reported.
    Broken,
}

impl Mark {
    /// The name of a route behind the block's prefix; of `r#move` without one of its own it is `move`.
    pub(crate) fn route_name(&self, method: &Ident, prefix: &str) -> Option<LitStr> {
        let (name, span) = match &self.name {
            Name::Given(name) => (name.value(), name.span()),
            Name::Own => (method.unraw().to_string(), method.span()),
            Name::Broken => return None,
        };
        // An empty one stays empty, and is reported.
        let prefix = if name.is_empty() { "" } else { prefix };
        Some(LitStr::new(&format!("{prefix}{name}"), span))
    }
}

const NO_ATTRIBUTE: &str = "this is no attribute yet; it is left out";

/// Reads the attributes of an item. What is no attribute is reported and left out, except that one of ours stays, by its
/// name alone: the item is what it is marked as.
pub(crate) fn parse(
    input: ParseStream<'_>,
    krate: &Path,
    errors: &mut Errors,
) -> syn::Result<Vec<Attribute>> {
    let mut attrs = Vec::new();
    while input.peek(Token![#]) {
        let hash: Token![#] = input.parse()?;
        if !input.peek(Bracket) {
            errors.at(hash, NO_ATTRIBUTE);
            continue;
        }
        let brackets: Group = input.parse()?;
        if let Ok(parsed) = Attribute::parse_outer.parse2(quote!(#hash #brackets)) {
            attrs.extend(parsed);
            continue;
        }
        errors.at(&brackets, NO_ATTRIBUTE);
        let path = |input: ParseStream<'_>| {
            let path = input.call(Path::parse_mod_style)?;
            input.parse::<TokenStream>()?;
            Ok(path)
        };
        if let Ok(path) = path.parse2(brackets.stream())
            && Kind::of(&path, krate).is_some()
        {
            attrs.push(parse_quote!(#hash [#path]));
        }
    }
    Ok(attrs)
}

/// Takes our attributes out of an item's.
///
/// ```text
/// #[doc = "…"] #[route("chat")] #[cfg(debug)]   →   #[doc = "…"] #[cfg(debug)]   and   Mark(Route, "chat")
/// ```
pub(crate) fn take(attrs: &mut Vec<Attribute>, krate: &Path, errors: &mut Errors) -> Vec<Mark> {
    let mut marks = Vec::new();
    attrs.retain(|attr| {
        if let Some(kind) = Kind::of(attr.path(), krate) {
            let (name, policy) = options(kind, &attr.meta, errors).unwrap_or_else(|error| {
                errors.push(error);
                (Name::Broken, Policy::default())
            });
            marks.push(Mark { kind, name, policy, original: attr.clone() });
            return false;
        }
        // Left in, it would turn into an attribute that nobody takes, and a second error.
        let Some((kind, hidden)) = hidden(attr, krate) else { return true };
        errors.at(
            hidden,
            format_args!(
                "`#[{kind}]` inside `cfg_attr` is not visible to `#[dispatcher]`; put `#[cfg(…)]` on the method"
            ),
        );
        marks.push(Mark { kind, name: Name::Broken, policy: Policy::default(), original: attr.clone() });
        false
    });
    marks
}

/// `("chat", rate = "30/s")`, or nothing.
fn options(kind: Kind, meta: &Meta, errors: &mut Errors) -> syn::Result<(Name, Policy)> {
    match meta {
        Meta::Path(_) => Ok((Name::Own, Policy::default())),
        Meta::List(list) if kind == Kind::Route => {
            list.parse_args_with(|input: ParseStream<'_>| given(input, errors))
        }
        Meta::NameValue(pair) if kind == Kind::Route => Err(syn::Error::new_spanned(&pair.value, NO_NAME)),
        _ => Err(syn::Error::new_spanned(meta, format!("`#[{kind}]` takes no options"))),
    }
}

const NO_NAME: &str = r#"a route name is a string literal: `#[route("chat")]`"#;

/// `"chat"`, or nothing for the method's own name, then the policy.
fn given(input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<(Name, Policy)> {
    if input.peek(Ident::peek_any) && input.peek2(Token![=]) {
        return Ok((Name::Own, Policy::parse(input, errors)?));
    }
    let name: LitStr = input.parse().map_err(|error| syn::Error::new(error.span(), NO_NAME))?;
    if !name.suffix().is_empty() {
        return Err(syn::Error::new(name.span(), NO_NAME));
    }
    if !input.is_empty() {
        input.parse::<Token![,]>()?;
    }
    Ok((Name::Given(name), Policy::parse(input, errors)?))
}

/// One of ours inside a `cfg_attr`.
fn hidden(attr: &Attribute, krate: &Path) -> Option<(Kind, Meta)> {
    if !attr.path().is_ident("cfg_attr") {
        return None;
    }
    let metas = attr.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).ok()?;
    metas.into_iter().skip(1).find_map(|meta| Some((Kind::of(meta.path(), krate)?, meta)))
}

/// That a method is marked twice: as the same, or as two different things.
pub(crate) fn twice(first: Kind, second: Kind, method: &Ident) -> String {
    let method = method.unraw();
    if first == second {
        format!("`{method}` already has a `#[{first}]`")
    } else {
        format!("`{method}` cannot be both {} and {}", first.noun(), second.noun())
    }
}
