//! `#[derive(Dispatcher)]`: composes the dispatchers in a struct's fields into one.
//!
//! `model` parses and checks the input. `expand` takes only a valid [`Composition`].

mod expand;
mod model;

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::DeriveInput;

use self::model::{Composition, CompositionOptions};
use crate::{errors::Errors, inert};

/// Expands the derive.
pub(crate) fn derive(input: &DeriveInput) -> TokenStream {
    let mut errors = Errors::default();
    let options = CompositionOptions::parse(&input.attrs, &mut errors);
    match Composition::validate(&options, input, errors) {
        Ok(composition) => expand::expand(&composition),
        Err(errors) => {
            let (ident, (_, arguments, _)) = (&input.ident, input.generics.split_for_impl());
            let session = options.session.as_ref().map_or_else(|| quote!(()), ToTokens::to_token_stream);
            let inert = inert::dispatcher(&options.krate, &input.generics, quote!(#ident #arguments), session);
            quote!(#errors #inert)
        }
    }
}
