//! Turns a block into what can be expanded, or into every reason why it cannot be.

use std::collections::{HashMap, hash_map::Entry};

use syn::{Ident, LitStr};

use super::{args::Args, block::Block, handler::Handler, policy::Policy};
use crate::errors::Errors;
use crate::hook::{Hook, Role};
use crate::tokens::lifetimes;

/// A block without faults. Only [`Dispatcher::validate`] makes one.
pub(crate) struct Dispatcher<'a> {
    pub(crate) args: &'a Args,
    pub(crate) block: &'a Block,
    pub(crate) routes: Vec<Route<'a>>,
    hooks: Vec<Handler<'a>>,
}

/// A route with a name that is not empty and, unless it is under `cfg`s, unique.
pub(crate) struct Route<'a> {
    pub(crate) name: LitStr,
    pub(crate) policy: &'a Policy,
    pub(crate) handler: Handler<'a>,
}

impl<'a> Dispatcher<'a> {
    /// Checks everything that can be checked without type information. `errors` are the faults found by reading.
    pub(crate) fn validate(args: &'a Args, block: &'a Block, mut errors: Errors) -> Result<Self, Errors> {
        let Some(name) = header(block, &mut errors) else { return Err(errors) };
        let prefix = args.prefix.as_ref().map(LitStr::value).unwrap_or_default();
        let (mut routes, mut hooks) = (Vec::new(), Vec::new());
        for handler in block.items.iter().filter_map(|item| Handler::validate(item, &mut errors)) {
            if handler.mark.role != Role::Route {
                hooks.push(handler);
            } else if let Some(options) = &handler.mark.route {
                let name = options.full_name(&handler.signature.ident, &prefix);
                routes.push(Route { name, policy: &options.policy, handler });
            }
        }
        names(&routes, &mut errors);
        let dispatcher = Self { args, block, routes, hooks };
        at_most_one_of_each(&dispatcher, name, &mut errors);
        if !block.items.iter().flat_map(|item| &item.marks).any(|mark| mark.role.stands_alone()) {
            let message = format!("`{name}` has no routes; mark an `async fn` with `#[route(\"…\")]`");
            errors.at(block.header.impl_token, message);
        }
        errors.into_result(dispatcher)
    }

    /// Returns the handlers of one hook: at most one, unless they are under `cfg`s.
    pub(crate) fn hooks(&self, hook: Hook) -> impl Iterator<Item = &Handler<'a>> + Clone {
        self.hooks.iter().filter(move |handler| handler.mark.role == Role::Hook(hook))
    }
}

/// Checks everything outside of the braces, and returns the name of the type. Without one, or in an `impl` of a trait,
/// there is nothing more to check.
fn header<'a>(block: &'a Block, errors: &mut Errors) -> Option<&'a Ident> {
    let header = &block.header;
    let Some(name) = block.name() else {
        errors.at(&header.self_ty, "`#[dispatcher]` needs a named type");
        return None;
    };
    if let Some((of, _)) = &header.trait_ {
        let message =
            format!("`#[dispatcher]` cannot be used on a trait impl; move the routes to `impl {name} {{ … }}`");
        errors.at(of, message);
        return None;
    }
    let declared = header.generics.lifetimes().map(|parameter| parameter.lifetime.clone());
    let anonymous = lifetimes(&header.self_ty).into_iter().filter(|lifetime| lifetime.ident == "_");
    for lifetime in declared.chain(anonymous) {
        errors.cannot_borrow(name, &lifetime);
    }
    Some(name)
}

/// Checks the names of routes. Only rustc knows which of those under a `cfg` exist together; it reports a second one as
/// an unreachable pattern.
fn names(routes: &[Route<'_>], errors: &mut Errors) {
    let mut first = HashMap::new();
    for Route { name, handler, .. } in routes {
        let value = name.value();
        if value.is_empty() {
            errors.at(name, "a route name must not be empty");
        } else if handler.cfgs.is_empty() {
            match first.entry(value) {
                Entry::Vacant(entry) => _ = entry.insert(name),
                Entry::Occupied(first) => {
                    errors.at(name, format_args!("route `{}` is defined twice", first.key()));
                    errors.at(first.get(), format_args!("`{}` is first defined here", first.key()));
                }
            }
        }
    }
}

/// Checks that each hook is defined once. For those under a `cfg`, rustc reports the second method of the same name.
fn at_most_one_of_each(dispatcher: &Dispatcher<'_>, name: &Ident, errors: &mut Errors) {
    for hook in Hook::ALL {
        let mut unconditional = dispatcher.hooks(*hook).filter(|handler| handler.cfgs.is_empty());
        let Some(first) = unconditional.next() else { continue };
        for second in unconditional {
            errors.at(&second.mark.original, format_args!("`{name}` has two {}s", hook.noun()));
            errors.at(&first.mark.original, "first defined here");
        }
    }
}
