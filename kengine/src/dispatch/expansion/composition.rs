//! What the expansion of `#[derive(Dispatcher)]` calls to make one dispatcher of several.

use std::marker::PhantomData;

use crate::dispatch::context::Context;
use crate::dispatch::dispatcher::{Dispatcher, Hooks};
use crate::protocol::{ConstText, Route, Session, Syntax, equal};

/// The maximum number of routes of a composed dispatcher. It is fixed because the length of an array cannot depend on a
/// type parameter.
const CAPACITY: usize = 512;

/// The routes of all fields, in the order of the fields.
#[doc(hidden)]
#[derive(Debug)]
pub struct Table {
    routes: [Route; CAPACITY],
    len: usize,
}

impl Table {
    /// Joins the routes of the fields.
    ///
    /// # Panics
    ///
    /// If there are more than [`CAPACITY`].
    #[track_caller]
    #[expect(clippy::large_stack_arrays, reason = "evaluated while compiling, into a constant that is never copied")]
    pub const fn new(parts: &[&[Route]]) -> Self {
        let mut table = Self { routes: [Route::new(""); CAPACITY], len: 0 };
        let mut part = 0;
        while part < parts.len() {
            let mut at = 0;
            while at < parts[part].len() {
                assert!(table.len < CAPACITY, "a composed dispatcher has at most 512 routes");
                table.routes[table.len] = parts[part][at];
                table.len += 1;
                at += 1;
            }
            part += 1;
        }
        table
    }

    pub const fn routes(&self) -> &[Route] {
        self.routes.split_at(self.len).0
    }
}

/// Returns the hooks of all fields.
#[doc(hidden)]
pub const fn hooks(parts: &[Hooks]) -> Hooks {
    let mut all = Hooks::NONE;
    let mut part = 0;
    while part < parts.len() {
        all.accept |= parts[part].accept;
        all.open |= parts[part].open;
        all.close |= parts[part].close;
        all.heartbeat |= parts[part].heartbeat;
        all.fallback |= parts[part].fallback;
        part += 1;
    }
    all
}

/// The session of one field of a composed dispatcher, which must be that of the struct.
#[diagnostic::on_unimplemented(
    message = "the session is `{S}`, not `{Self}`",
    label = "its session is `{Self}`, but that of the struct is `{S}`",
    note = "a connection has one session; a block without `#[accept]` names it: `#[kengine::dispatcher(session = {S})]`"
)]
pub trait IsSameSession<S> {
    #[doc(hidden)]
    const CHECKED: () = ();
}

impl<S> IsSameSession<S> for S {}

/// One field of a composed dispatcher.
///
/// The expansion uses a field through this type. If the field is a dispatcher, method lookup finds the inherent items
/// below; `dispatcher` only if its session is `S`. Otherwise it finds placeholders in [`Unfit`], so that the only error
/// is the one at [`IsSameSession`].
#[doc(hidden)]
#[derive(Debug)]
pub struct Part<'a, T: ?Sized, S> {
    field: &'a T,
    session: PhantomData<fn() -> S>,
}

/// See [`Part`].
#[doc(hidden)]
pub fn part<T: ?Sized, S>(field: &T) -> Part<'_, T, S> {
    Part { field, session: PhantomData }
}

impl<T: Dispatcher + ?Sized, S> Part<'_, T, S> {
    pub const SYNTAX: Syntax = T::SYNTAX;
    pub const ROUTES: &'static [Route] = T::ROUTES;
    pub const READS_LATE: bool = T::READS_LATE;
    pub const HOOKS: Hooks = T::HOOKS;
}

impl<'a, T: Dispatcher<Session = S> + ?Sized, S> Part<'a, T, S> {
    pub fn dispatcher(self) -> &'a T {
        self.field
    }
}

/// See [`Part`].
#[doc(hidden)]
pub trait Unfit<S: 'static>: Sized {
    const SYNTAX: Syntax = Syntax::UNKNOWN;
    const ROUTES: &'static [Route] = &[];
    const READS_LATE: bool = false;
    const HOOKS: Hooks = Hooks::NONE;

    fn dispatcher(self) -> &'static Absent<S> {
        &Absent(PhantomData)
    }
}

impl<T: ?Sized, S: 'static> Unfit<S> for Part<'_, T, S> {}

/// The dispatcher that stands in for a field with a wrong type.
#[doc(hidden)]
#[derive(Debug)]
pub struct Absent<S>(PhantomData<fn() -> S>);

#[diagnostic::do_not_recommend]
impl<S: Session> Dispatcher for Absent<S> {
    type Session = S;
}

/// Returns the context for a field whose routes follow this many others.
#[doc(hidden)]
pub fn shifted<S>(context: Context<'_, S>, routes: usize) -> Context<'_, S> {
    context.shifted(routes)
}

/// Checks that no field before this one has one of its routes.
///
/// # Panics
///
/// If one has. The check runs while the program is compiled, so the panic is a compile error at the caller.
#[doc(hidden)]
#[track_caller]
pub const fn check_routes(routes: &[Route], before: &[&[Route]]) {
    let mut at = 0;
    while at < routes.len() {
        let mut part = 0;
        while part < before.len() {
            if contains(before[part], routes[at].name) {
                let text = ConstText::new("route `").and(routes[at].name).and("` is served by two dispatchers");
                panic!("{}", text.as_str());
            }
            part += 1;
        }
        at += 1;
    }
}

/// Checks that no field before this one has the same hook.
///
/// # Panics
///
/// If one has.
#[doc(hidden)]
#[track_caller]
pub const fn check_hook(hook: &str, has: bool, before: &[(&str, bool)]) {
    let mut part = 0;
    while has && part < before.len() {
        if before[part].1 {
            let text = ConstText::new("`#[").and(hook).and("]` is allowed in one field only; `").and(before[part].0);
            panic!("{}", text.and("` already has it").as_str());
        }
        part += 1;
    }
}

/// Checks that the messages of a field have the same syntax as those of the first field.
///
/// # Panics
///
/// If they do not.
#[doc(hidden)]
#[track_caller]
pub const fn check_syntax(syntax: Syntax, first: &str, expected: Syntax) {
    if syntax.key().is_empty() || expected.key().is_empty() {
        return;
    }
    if !equal(syntax.key(), expected.key()) {
        let text = ConstText::new("the key is `").and(syntax.key()).and("`, but the field `").and(first);
        panic!("{}", text.and("` has the key `").and(expected.key()).and("`").as_str());
    }
    match (syntax.payload(), expected.payload()) {
        (None, None) => {}
        (Some(payload), Some(expected)) => {
            if !equal(payload, expected) {
                let text = ConstText::new("the payload is `").and(payload).and("`, but the field `").and(first);
                panic!("{}", text.and("` has the payload `").and(expected).and("`").as_str());
            }
        }
        (Some(payload), None) => {
            let text = ConstText::new("the payload is `").and(payload).and("`, but the field `").and(first);
            panic!("{}", text.and("` has the option `flat`").as_str());
        }
        (None, Some(expected)) => {
            let text = ConstText::new("the option is `flat`, but the field `").and(first);
            panic!("{}", text.and("` has the payload `").and(expected).and("`").as_str());
        }
    }
}

const fn contains(routes: &[Route], name: &str) -> bool {
    let mut at = 0;
    while at < routes.len() {
        if equal(routes[at].name, name) {
            return true;
        }
        at += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_holds_its_capacity_and_no_more() {
        let routes = vec![Route::new("x"); CAPACITY];
        let full = Table::new(&[&routes[..100], &[], &routes[100..]]);
        assert_eq!(full.routes(), routes);
        assert!(std::panic::catch_unwind(|| Table::new(&[&routes, &routes[..1]])).is_err());
    }
}
