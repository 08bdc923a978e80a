//! The policy of a route, held to before its message is decoded.

use std::sync::{Mutex, OnceLock, PoisonError};

use tokio::time::Instant;

use crate::{Answer, Call, Context, Error, Rate, Result, Route};

/// How far one connection has used up its rates; nothing until the first message of a route that has one.
///
/// Each is a leaky bucket in the form of ITU-T I.371's generic cell rate algorithm, which needs one point in time:
/// when the bucket will be empty.
#[derive(Debug, Default)]
pub(crate) struct Meters(OnceLock<Box<Mutex<Vec<Meter>>>>);

#[derive(Debug)]
struct Meter {
    /// The route's index in the endpoint's table.
    route: usize,
    empty_at: Instant,
}

impl Meters {
    /// Takes one message into account, if the rate allows it.
    fn allow(&self, route: usize, rate: Rate) -> bool {
        let Some(interval) = rate.period.checked_div(rate.count) else { return false };
        let now = Instant::now();
        // Nothing between lock and unlock can panic half-way through a change.
        let mut meters = self.0.get_or_init(Box::default).lock().unwrap_or_else(PoisonError::into_inner);
        let at = meters.iter().position(|meter| meter.route == route).unwrap_or_else(|| {
            meters.push(Meter { route, empty_at: now });
            meters.len() - 1
        });
        let meter = &mut meters[at];
        let empty_at = meter.empty_at.max(now) + interval;
        let allowed = empty_at <= now + interval * rate.burst;
        if allowed {
            meter.empty_at = empty_at;
        }
        allowed
    }
}

/// Holds a request to the policy of its route; from here on the handler's time is the route's.
///
/// # Errors
///
/// `rate_limited` or `too_large`.
#[doc(hidden)]
pub fn limit<S>(context: Context<'_, S>, answer: &Answer, route: &Route) -> Result<()> {
    let connection = context.connection();
    if let (Some(rate), Some(index)) = (route.rate, answer.outcome().0)
        && !connection.meters().allow(index, rate)
    {
        let (name, Rate { count, period, .. }) = (route.name, rate);
        let message = format!("`{name}` may be sent {count} times in {period:?}; slow down");
        return Err(Error::new("rate_limited", message));
    }
    let size = context.envelope().map_or(0, crate::Envelope::size);
    if let Some(max) = route.max_size.filter(|max| size > *max) {
        let message = format!("`{}` takes messages of at most {max} bytes, this one has {size}", route.name);
        return Err(Error::new("too_large", message));
    }
    if let Some(timeout) = route.timeout {
        connection.set_handler_limit(timeout);
    }
    Ok(())
}

/// The call that `#[before]` looks at.
#[doc(hidden)]
pub fn call<S>(context: Context<'_, S>, route: &Route) -> Call {
    Call::new(route.name, context.envelope())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn rate(count: u32, burst: u32) -> Rate {
        Route::new("move").rate(count, Duration::from_secs(1), burst).rate.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_the_rate() {
        let (meters, rate) = (Meters::default(), rate(10, 3));
        let taken = |meters: &Meters| (0..20).take_while(|_| meters.allow(0, rate)).count();
        assert_eq!(taken(&meters), 3);
        tokio::time::advance(Duration::from_millis(99)).await;
        assert_eq!(taken(&meters), 0);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(taken(&meters), 1);
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!(taken(&meters), 2);
        // However long the silence, no more than the burst.
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(taken(&meters), 3);
        // Another route has a meter of its own.
        assert!(meters.allow(1, rate));
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_holds_over_time() {
        let (meters, rate) = (Meters::default(), rate(30, 60));
        let mut passed = 0;
        for _ in 0..10_000 {
            passed += u32::from(meters.allow(0, rate));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(passed, 60 + 30 * 10 - 1);
    }
}
