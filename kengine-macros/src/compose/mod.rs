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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{assert_shown, parse, shown};

    fn expand(input: &str) -> String {
        shown(derive(&syn::parse2(parse(input)).expect("a struct")))
    }

    #[test]
    fn the_docs_show_the_expansion_of_a_composition() {
        assert_shown("composition.rs", &expand("struct App<R> { chat: Chat, rest: R }"));
    }

    /// A macro sees such types before the compiler refuses them.
    #[test]
    fn a_type_may_end_with_a_plus() {
        let expansion = expand("struct App { chat: Chat + }");
        assert!(expansion.contains("<(dyn Chat) as ::kengine::Dispatcher>::Session"), "{expansion}");
    }

    #[test]
    fn a_type_parameter_is_bounded_by_the_session() {
        for (input, bounds) in [
            ("struct App { chat: Chat, more: More }", &["Chat: ::kengine::Dispatcher,"][..]),
            ("struct App<R> { rest: R, chat: Chat }", &["R: ::kengine::Dispatcher,"]),
            ("struct App<R> { chat: Chat, rest: (R) }", &["R: ::kengine::Dispatcher<Session = <Chat as "]),
            ("struct App<R, T> { rest: Rest<R>, more: T }", &["T: ::kengine::Dispatcher<Session = <Rest<R> as "]),
            (
                "#[kengine(session = Player)] struct App<R> { rest: R }",
                &["R: ::kengine::Dispatcher<Session = Player>,"],
            ),
            ("#[kengine(session = Player)] struct App { chat: Chat }", &[]),
        ] {
            let expansion = expand(input);
            let header = &expansion[..expansion.find("type Session").expect("the session")];
            for bound in bounds {
                assert!(header.contains(bound), "{input}: {header}");
            }
            assert_eq!(header.matches(": ::kengine::Dispatcher").count(), bounds.len(), "{input}: {header}");
        }
    }
}
