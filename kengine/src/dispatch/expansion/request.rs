//! What the expansion asks of a request before it calls the handler.

use crate::{
    dispatch::{context::Context, limits},
    language::{call::Call, envelope::Envelope, error::Result, route::Route},
};

/// Checks a request against the limits of its route.
///
/// # Errors
///
/// `rate_limited` or `too_large`.
#[doc(hidden)]
pub fn limit<S>(context: Context<'_, S>, route: &Route) -> Result<()> {
    limits::check(context, route)
}

/// Returns the call that `#[before]` may refuse.
#[doc(hidden)]
pub fn call<S>(context: Context<'_, S>, route: &Route) -> Call {
    Call::new(route.name, context.envelope().map_or(0, Envelope::size))
}
