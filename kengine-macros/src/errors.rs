//! Collects the faults of a macro's input, so that one compile reports all of them.

use std::fmt::Display;

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{Ident, Lifetime};

/// The faults found so far.
#[derive(Default)]
pub(crate) struct Errors(Option<syn::Error>);

impl Errors {
    /// Adds a fault at these tokens, which should be as few as possible.
    pub(crate) fn at(&mut self, tokens: impl ToTokens, message: impl Display) {
        self.push(syn::Error::new_spanned(tokens, message));
    }

    /// Adds a fault.
    pub(crate) fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(errors) => errors.combine(error),
            none => *none = Some(error),
        }
    }

    /// Adds the fault of a dispatcher with a lifetime parameter.
    pub(crate) fn cannot_borrow(&mut self, dispatcher: &Ident, lifetime: &Lifetime) {
        let message =
            format!("a dispatcher is shared by every connection, so `{dispatcher}` cannot borrow; remove `{lifetime}`");
        self.at(lifetime, message);
    }

    /// Returns the value, or adds the fault in its place.
    pub(crate) fn ok<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    /// Returns `value` if there are no faults, and the faults otherwise.
    pub(crate) fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_none() { Ok(value) } else { Err(self) }
    }
}

/// Writes a `compile_error!` for each fault.
impl ToTokens for Errors {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.extend(self.0.as_ref().map(syn::Error::to_compile_error));
    }
}
