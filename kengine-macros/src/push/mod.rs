//! `#[derive(Push)]`: makes a struct or an enum a push.
//!
//! `model` parses and checks the input. `expand` takes only the resulting [`Push`].

mod expand;
mod model;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput};

use self::model::{Push, PushOptions};
use crate::errors::Errors;

/// Expands the derive. After faults the type is still a push, so that code that sends it reports no further errors.
pub(crate) fn derive(input: &DeriveInput) -> TokenStream {
    let mut errors = Errors::default();
    let options = PushOptions::parse(&input.attrs, &mut errors);
    match Push::validate(&options, input, errors) {
        Ok(push) => expand::expand(&push),
        // A union does not implement `Serialize` either: one error is enough.
        Err(errors) if matches!(input.data, Data::Union(_)) => quote!(#errors),
        Err(errors) => {
            let inert = expand::expand(&Push::inert(&options, input));
            quote!(#errors #inert)
        }
    }
}
