//! From what was written to what can be expanded, or to every reason why not.

use std::collections::{HashMap, hash_map::Entry};

use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, quote_spanned};
use syn::{
    Attribute, FnArg, GenericParam, Ident, Lifetime, LitStr, Receiver, ReceiverKind, Safety, Signature, Type,
    ext::IdentExt,
};

use crate::{
    args::Args,
    attr::{self, Kind, Mark},
    errors::Errors,
    item::Item,
    model::{Block, find_impl, flatten, plain},
    policy::Policy,
};

/// A block without faults.
pub(crate) struct Dispatcher<'a> {
    pub(crate) args: &'a Args,
    pub(crate) block: &'a Block,
    pub(crate) routes: Vec<Route<'a>>,
    /// Of each kind at most one, unless `cfg`s tell them apart.
    hooks: Vec<Handler<'a>>,
}

pub(crate) struct Route<'a> {
    pub(crate) name: LitStr,
    pub(crate) handler: Handler<'a>,
}

/// An `async fn` that takes `&self` and arguments of named types.
pub(crate) struct Handler<'a> {
    pub(crate) cfgs: Vec<&'a Attribute>,
    pub(crate) signature: &'a Signature,
    mark: &'a Mark,
}

impl<'a> Dispatcher<'a> {
    /// The hooks of one kind.
    pub(crate) fn hooks(&self, kind: Kind) -> impl Iterator<Item = &Handler<'a>> + Clone {
        self.hooks.iter().filter(move |hook| hook.mark.kind == kind)
    }
}

impl Handler<'_> {
    pub(crate) fn policy(&self) -> &Policy {
        &self.mark.policy
    }
}

/// Checks everything that can be checked without types. `None` means, as an error does, that there is nothing to
/// expand.
pub(crate) fn dispatcher<'a>(
    args: &'a Args,
    block: &'a Block,
    errors: &mut Errors,
) -> Option<Dispatcher<'a>> {
    let name = header(block, errors)?;
    let prefix = args.prefix.as_ref().map(LitStr::value).unwrap_or_default();
    let (mut routes, mut hooks) = (Vec::new(), Vec::new());
    for handler in block.items.iter().filter_map(|item| handler(item, errors)) {
        if handler.mark.kind != Kind::Route {
            hooks.push(handler);
        } else if let Some(name) = handler.mark.route_name(&handler.signature.ident, &prefix) {
            routes.push(Route { name, handler });
        }
    }
    names(&routes, errors);
    let dispatcher = Dispatcher { args, block, routes, hooks };
    for kind in [Kind::Heartbeat, Kind::Accept, Kind::Open, Kind::Close, Kind::Before, Kind::Fallback] {
        at_most_one(dispatcher.hooks(kind), name, errors);
    }
    // Hooks alone may be a part of a composed dispatcher, but nobody composes for a heartbeat or a guard.
    if block
        .items
        .iter()
        .flat_map(|item| &item.marks)
        .all(|mark| matches!(mark.kind, Kind::Heartbeat | Kind::Before))
    {
        let message = format!("`{name}` has no routes; mark an `async fn` with `#[route(\"…\")]`");
        errors.at(block.header.impl_token, message);
    }
    Some(dispatcher)
}

/// Checks everything outside of the braces, and finds the type's name.
fn header<'a>(block: &'a Block, errors: &mut Errors) -> Option<&'a Ident> {
    let header = &block.header;
    let Some(name) = block.name() else {
        errors.at(&header.self_ty, "`#[dispatcher]` needs a named type");
        return None;
    };
    if let Some((of, _)) = &header.trait_ {
        let message = format!(
            "`#[dispatcher]` cannot be used on a trait impl; move the routes to `impl {name} {{ … }}`"
        );
        errors.at(of, message);
        // Which routes it has, and which it should have, is said when they have moved.
        return None;
    }
    let declared = header.generics.lifetimes().map(|parameter| parameter.lifetime.clone());
    let anonymous =
        lifetimes(header.self_ty.to_token_stream()).into_iter().filter(|lifetime| lifetime.ident == "_");
    for lifetime in declared.chain(anonymous) {
        let message = format!(
            "a dispatcher is shared by every connection, so `{name}` cannot borrow; remove `{lifetime}`"
        );
        errors.at(lifetime, message);
    }
    Some(name)
}

/// Reads a marked item; what is wrong with it is reported, and it counts all the same.
fn handler<'a>(item: &'a Item, errors: &mut Errors) -> Option<Handler<'a>> {
    let mark = item.marks.first()?;
    let Some(signature) = item.signature() else {
        if item.is_broken() {
            return None;
        }
        errors.at(&mark.original, format_args!("`#[{}]` belongs on an `async fn`", mark.kind));
        return None;
    };
    for second in &item.marks[1..] {
        errors.at(&second.original, attr::twice(mark.kind, second.kind, &signature.ident));
    }
    check(mark.kind, signature, errors);
    let cfgs = item.attrs.iter().filter(|attr| attr.path().is_ident("cfg")).collect();
    Some(Handler { cfgs, signature, mark })
}

/// Checks that the generated code can call it.
fn check(kind: Kind, signature: &Signature, errors: &mut Errors) {
    let subject = format!("{kind} `{}`", signature.ident.unraw());
    let mut refuse = |tokens: &dyn ToTokens, what: &str| errors.at(tokens, format_args!("{subject} {what}"));

    if signature.asyncness.is_none() {
        refuse(&signature.fn_token, "must be an `async fn`");
    }
    if let Safety::Unsafe(token) = &signature.safety {
        refuse(token, "must not be `unsafe`");
    }
    if let Some(abi) = &signature.abi {
        refuse(abi, "must not be `extern`");
    }
    // Lifetimes of its own are welcome: they are elided in the call.
    if !signature.generics.params.iter().all(|parameter| matches!(parameter, GenericParam::Lifetime(_))) {
        match kind {
            Kind::Route => refuse(&signature.generics, "cannot be generic: the message type must be known"),
            _ => refuse(&signature.generics, "cannot be generic"),
        }
    }
    match signature.receiver().map(borrowed) {
        // The parentheses, into which it belongs.
        None => refuse(&quote_spanned!(signature.paren_token.span.join()=> ()), "must take `&self`"),
        Some(Ok(())) => {}
        Some(Err((tokens, what))) => refuse(&tokens, what),
    }
    if kind == Kind::Accept
        && let Some(span) = find_impl(signature.output.to_token_stream())
    {
        errors.at(span, "`impl Trait` is not a session; name the type");
    }
    for argument in &signature.inputs {
        let FnArg::Typed(argument) = argument else {
            continue;
        };
        if let Some(span) = find_impl(argument.ty.to_token_stream()) {
            let what = match kind {
                Kind::Route => "a message type",
                Kind::Accept => "an argument of `#[accept]`",
                _ => "a context argument",
            };
            errors.at(span, format_args!("`impl Trait` is not {what}; name the type"));
        }
    }
}

/// Whether the receiver is `&self`; if not, what is wrong with it.
fn borrowed(receiver: &Receiver) -> Result<(), (TokenStream, &'static str)> {
    const MUTABLE: &str =
        "takes `&mut self`, but connections share the dispatcher; take `&self` and use a lock";
    match &receiver.kind {
        ReceiverKind::Reference(_, _, None) => Ok(()),
        ReceiverKind::Reference(_, _, Some(token)) => Err((token.to_token_stream(), MUTABLE)),
        ReceiverKind::Value => {
            Err((receiver.self_token.to_token_stream(), "takes `self` by value; take `&self`"))
        }
        ReceiverKind::Typed(_, ty) => match plain(ty) {
            Type::Reference(reference) => match &reference.mutability {
                None => Ok(()),
                Some(token) => Err((token.to_token_stream(), MUTABLE)),
            },
            _ => Err((ty.to_token_stream(), "must take `&self`")),
        },
        _ => Err((receiver.to_token_stream(), "must take `&self`")),
    }
}

/// Checks the routes' names. Of those under a `cfg` only rustc knows which are there together: it reports a
/// second one as a pattern that is never reached.
fn names(routes: &[Route<'_>], errors: &mut Errors) {
    let mut first = HashMap::new();
    for Route { name, handler } in routes {
        let value = name.value();
        if value.is_empty() {
            errors.at(name, "a route name must not be empty");
        } else if handler.cfgs.is_empty() {
            match first.entry(value) {
                Entry::Vacant(place) => _ = place.insert(name),
                Entry::Occupied(first) => {
                    errors.at(name, format_args!("route `{}` is defined twice", first.key()));
                    errors.at(first.get(), format_args!("`{}` is first defined here", first.key()));
                }
            }
        }
    }
}

/// Checks that there is no second hook of a kind; of those under a `cfg` rustc reports it.
fn at_most_one<'a>(hooks: impl Iterator<Item = &'a Handler<'a>>, name: &Ident, errors: &mut Errors) {
    let mut hooks = hooks.filter(|hook| hook.cfgs.is_empty()).map(|hook| hook.mark);
    let Some(first) = hooks.next() else { return };
    for second in hooks {
        errors.at(&second.original, format_args!("`{name}` has two {}", second.kind.plural()));
        errors.at(&first.original, "first defined here");
    }
}

/// The lifetimes in a type.
fn lifetimes(tokens: TokenStream) -> Vec<Lifetime> {
    let lifetime = |pair: &[TokenTree]| match pair {
        [TokenTree::Punct(quote), TokenTree::Ident(ident)] if quote.as_char() == '\'' => {
            Some(Lifetime { apostrophe: quote.span(), ident: ident.clone() })
        }
        _ => None,
    };
    flatten(tokens).windows(2).filter_map(lifetime).collect()
}
