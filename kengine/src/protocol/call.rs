//! What a `#[before]` hook sees of a request.

/// The request that a `#[before]` hook may refuse: its route exists, and it is within the route's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call {
    /// The full name of the route, including the `prefix` of its block: `"combat.attack"`.
    pub route: &'static str,
    /// The size of the whole message, in bytes.
    pub size: usize,
}
