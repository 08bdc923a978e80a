//! How the expansion asks about a type of which it knows only the tokens.
//!
//! The expansion writes `probe[Verdict]`. To compile this, rustc looks for an `Index<Verdict>` of the probe's type
//! `Probe<Q, 0>`. If there is none, it goes on with `Probe<Q, 1>`, to which `Probe<Q, 0>` dereferences, and so on. The
//! first one decides: its `Output` is a type, the verdict. So the implementations of `Index` are conditions in an
//! order.
//!
//! Method lookup could do the same, but it also finds the methods of traits that are in scope where the macro is used.
//! `Index` has no name there.

use std::marker::PhantomData;
use std::ops::Deref;

/// Asks the question `Q`, beginning with the condition number `STEP`.
#[doc(hidden)]
#[derive(Debug)]
pub struct Probe<Q, const STEP: u8>(PhantomData<fn() -> Q>);

/// The index with which a [`Probe`] is asked for its verdict.
#[doc(hidden)]
#[derive(Debug)]
pub struct Verdict;

impl<Q> Probe<Q, 0> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

macro_rules! next {
    ($($step:literal => $next:literal),*) => {
        $(impl<Q> Deref for Probe<Q, $step> {
            type Target = Probe<Q, $next>;

            fn deref(&self) -> &Self::Target {
                &Probe(PhantomData)
            }
        })*
    };
}
next!(0 => 1, 1 => 2, 2 => 3, 3 => 4);

/// Implements a condition of a question: `if <T: Bound> Question<T> at 2 { Verdict }`.
macro_rules! condition {
    ([$($generics:tt)*] $question:ty, $step:literal => $verdict:ident) => {
        impl<$($generics)*> std::ops::Index<$crate::dispatch::expansion::probe::Verdict>
            for $crate::dispatch::expansion::probe::Probe<$question, $step>
        {
            type Output = $verdict;

            fn index(&self, _: $crate::dispatch::expansion::probe::Verdict) -> &$verdict {
                &$verdict
            }
        }
    };
}
pub(super) use condition;
