//! The limits of a route, checked before its message is decoded.

use crate::dispatch::context::Context;
use crate::protocol::{Envelope, Error, Rate, Result, Route};

/// Checks a request against the limits of its route, and gives its handler the route's time limit.
///
/// # Errors
///
/// `rate_limited` or `too_large`.
pub(crate) fn check<S>(context: Context<'_, S>, route: &Route) -> Result<()> {
    if let (Some(rate), Some(progress)) = (route.rate, context.progress())
        && let Some(index) = progress.route()
        && !context.connection().allow(index, rate, progress.read_at())
    {
        let (name, Rate { count, period, .. }) = (route.name, rate);
        let message = format!("`{name}` may be sent {count} times in {period:?}; slow down");
        return Err(Error::new("rate_limited", message));
    }
    let size = context.envelope().map_or(0, Envelope::size);
    if let Some(max) = route.max_size.filter(|max| size > *max) {
        let message = format!("`{}` takes messages of at most {max} bytes, this one has {size}", route.name);
        return Err(Error::new("too_large", message));
    }
    if let Some(timeout) = route.timeout {
        context.set_timeout(timeout);
    }
    Ok(())
}
