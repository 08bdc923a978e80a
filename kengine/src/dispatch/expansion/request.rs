//! What the expansion does with a request before it calls the handler.

use crate::dispatch::context::Context;
use crate::dispatch::dispatcher::Dispatcher;
use crate::dispatch::route_limits;
use crate::protocol::{Answer, Call, Envelope, Result, Route, equal};

/// Returns the name of the route that a request is for.
#[doc(hidden)]
pub fn route<S>(context: Context<'_, S>) -> &str {
    context.envelope().map_or("", Envelope::route)
}

/// Returns the index of a route in its dispatcher's table, where `cfg`s decide how many routes precede it.
#[doc(hidden)]
pub const fn position<D: Dispatcher>(name: &str) -> usize {
    let mut position = 0;
    while position < D::ROUTES.len() {
        if equal(D::ROUTES[position].name, name) {
            return position;
        }
        position += 1;
    }
    position
}

/// Notes which route handles the message, by its index in its dispatcher's table.
#[doc(hidden)]
pub fn enter<S>(context: Context<'_, S>, route: usize) {
    context.set_route(route);
}

/// Checks a request against the limits of its route.
///
/// # Errors
///
/// `rate_limited` or `too_large`.
#[doc(hidden)]
pub fn limit<S>(context: Context<'_, S>, route: &Route) -> Result<()> {
    route_limits::check(context, route)
}

/// Returns the call that `#[before]` may refuse.
#[doc(hidden)]
pub fn call<S>(context: Context<'_, S>, route: &Route) -> Call {
    Call { route: route.name, size: context.envelope().map_or(0, Envelope::size) }
}

/// Checks that the whole message is a request, for a handler that does not decode its payload, and gives the answer its
/// id.
///
/// # Errors
///
/// `bad_request`.
#[doc(hidden)]
pub fn no_message<S>(context: Context<'_, S>, answer: &mut Answer) -> Result<()> {
    if let Some(envelope) = context.envelope() {
        answer.set_id(envelope.check().map_err(|rejected| rejected.error)?);
    }
    Ok(())
}
