//! Finds, reads and removes our attributes on the items of a block.

use proc_macro2::{Group, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::token::Bracket;
use syn::{Attribute, Ident, LitStr, Meta, Path, Token, parse_quote};

use super::policy::Policy;
use crate::errors::Errors;
use crate::hook::{Hook, Role};

/// One of our attributes on an item.
pub(crate) struct Mark {
    pub(crate) role: Role,
    /// The options of a route; `None` if they have been reported as wrong, and for a hook.
    pub(crate) route: Option<RouteOptions>,
    pub(crate) original: Attribute,
}

/// `"move", rate = "30/s"`
#[derive(Default)]
pub(crate) struct RouteOptions {
    /// `None` stands for the method's name.
    name: Option<LitStr>,
    pub(crate) policy: Policy,
}

const INCOMPLETE: &str = "this attribute is incomplete and is ignored";
const NO_NAME: &str = r#"a route name is a string literal: `#[route("chat")]`"#;

/// Reads the attributes of an item. An incomplete attribute is reported and left out. If it is one of ours, it stays
/// without its options, because it marks what the item is.
pub(crate) fn parse(input: ParseStream<'_>, krate: &Path, errors: &mut Errors) -> syn::Result<Vec<Attribute>> {
    let mut attrs = Vec::new();
    while input.peek(Token![#]) {
        let hash: Token![#] = input.parse()?;
        if !input.peek(Bracket) {
            errors.at(hash, INCOMPLETE);
            continue;
        }
        let brackets: Group = input.parse()?;
        if let Ok(parsed) = Attribute::parse_outer.parse2(quote!(#hash #brackets)) {
            attrs.extend(parsed);
            continue;
        }
        errors.at(&brackets, INCOMPLETE);
        let path = |input: ParseStream<'_>| {
            let path = input.call(Path::parse_mod_style)?;
            input.parse::<TokenStream>()?;
            Ok(path)
        };
        if let Ok(path) = path.parse2(brackets.stream())
            && role(&path, krate).is_some()
        {
            attrs.push(parse_quote!(#hash [#path]));
        }
    }
    Ok(attrs)
}

/// Removes our attributes from those of an item, and returns them.
///
/// ```text
/// #[doc = "…"] #[route("chat")] #[cfg(debug)]   →   #[doc = "…"] #[cfg(debug)]   and   Mark(Route, "chat")
/// ```
pub(crate) fn take(attrs: &mut Vec<Attribute>, krate: &Path, errors: &mut Errors) -> Vec<Mark> {
    let mut marks = Vec::new();
    attrs.retain(|attr| {
        let (role, options) = if let Some(role) = role(attr.path(), krate) {
            (role, options(role, &attr.meta, errors))
        } else if let Some((role, meta)) = hidden(attr, krate) {
            // If it stayed, it would expand to an attribute that nothing removes, which would be a second error.
            let message = format!(
                "`#[{role}]` inside `cfg_attr` is not visible to `#[dispatcher]`; put `#[cfg(…)]` on the method"
            );
            (role, Err(syn::Error::new_spanned(meta, message)))
        } else {
            return true;
        };
        marks.push(Mark { role, route: errors.ok(options).flatten(), original: attr.clone() });
        false
    });
    marks
}

/// Returns the role that an attribute gives to a method, if it is one of ours: `route`, `kengine::route`, or `route`
/// under the path that was given as `crate`.
fn role(path: &Path, krate: &Path) -> Option<Role> {
    let role = Role::named(&path.segments.last()?.ident)?;
    let parent = || path.segments.iter().take(path.segments.len() - 1).map(|segment| &segment.ident);
    let ours = parent().next().is_none()
        || parent().eq(["kengine"])
        || parent().eq(krate.segments.iter().map(|segment| &segment.ident));
    ours.then_some(role)
}

/// Returns the first of our attributes inside a `cfg_attr`.
fn hidden(attr: &Attribute, krate: &Path) -> Option<(Role, Meta)> {
    inside_cfg_attr(&attr.meta).into_iter().find_map(|meta| Some((role(meta.path(), krate)?, meta)))
}

/// Returns the attributes inside a `cfg_attr`, which may be nested. Any other attribute has none.
pub(crate) fn inside_cfg_attr(meta: &Meta) -> Vec<Meta> {
    let Meta::List(list) = meta else { return Vec::new() };
    let parser = Punctuated::<Meta, Token![,]>::parse_terminated;
    let Some(metas) = list.path.is_ident("cfg_attr").then(|| list.parse_args_with(parser).ok()).flatten() else {
        return Vec::new();
    };
    metas
        .into_iter()
        .skip(1)
        .flat_map(|meta| {
            let nested = inside_cfg_attr(&meta);
            std::iter::once(meta).chain(nested)
        })
        .collect()
}

/// Reads `("chat", rate = "30/s")`, or nothing.
fn options(role: Role, meta: &Meta, errors: &mut Errors) -> syn::Result<Option<RouteOptions>> {
    match (role, meta) {
        (Role::Route, Meta::Path(_)) => Ok(Some(RouteOptions::default())),
        (Role::Route, Meta::List(list)) => {
            list.parse_args_with(|input: ParseStream<'_>| RouteOptions::parse(input, errors)).map(Some)
        }
        (Role::Route, Meta::NameValue(pair)) => Err(syn::Error::new_spanned(&pair.value, NO_NAME)),
        (Role::Hook(_), Meta::Path(_)) => Ok(None),
        (Role::Hook(hook), _) => {
            let instead = if hook == Hook::Before { "; match on `call.route`" } else { "" };
            Err(syn::Error::new_spanned(meta, format!("`#[{role}]` takes no options{instead}")))
        }
    }
}

impl RouteOptions {
    fn parse(input: ParseStream<'_>, errors: &mut Errors) -> syn::Result<Self> {
        let mut name = None;
        if !(input.peek(Ident::peek_any) && input.peek2(Token![=])) {
            let literal: LitStr = input.parse().map_err(|error| syn::Error::new(error.span(), NO_NAME))?;
            if !literal.suffix().is_empty() {
                return Err(syn::Error::new(literal.span(), NO_NAME));
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
            name = Some(literal);
        }
        Ok(Self { name, policy: Policy::parse(input, errors)? })
    }

    /// Returns the name of the route with the block's prefix. The method `r#move` has the name `move`.
    pub(crate) fn full_name(&self, method: &Ident, prefix: &str) -> LitStr {
        let (name, span) = match &self.name {
            Some(name) => (name.value(), name.span()),
            None => (method.unraw().to_string(), method.span()),
        };
        // An empty name stays empty, so that it is reported.
        let prefix = if name.is_empty() { "" } else { prefix };
        LitStr::new(&format!("{prefix}{name}"), span)
    }
}
