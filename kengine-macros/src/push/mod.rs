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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::parse;

    fn expand(input: &str) -> String {
        derive(&syn::parse2(parse(input)).expect("a type")).to_string().replace(' ', "")
    }

    #[test]
    fn only_a_push_that_replaces_others_has_a_delivery_and_perhaps_a_key() {
        let reliable = expand("struct At { x: u8 }");
        assert!(reliable.contains(r#"NAME:&'static::core::primitive::str="at";}"#), "{reliable}");
        let latest = expand("#[push(latest)] struct At { x: u8 }");
        assert!(latest.contains("Delivery::Latest;}"), "{latest}");
        let keyed = expand(r#"#[push("place", latest(y, x))] struct At { x: u8, y: u8 }"#);
        for part in [
            r#"str="place";"#,
            "Delivery::Latest;fnkey",
            "field(&self.y),(::kengine::__private::IsPushKey::field(&self.x),()))",
        ] {
            assert!(keyed.contains(part), "{keyed}");
        }
    }

    #[test]
    fn a_type_with_faults_is_still_a_push_unless_it_is_a_union() {
        let faulty = expand("#[push(latest(y))] struct At { x: u8 }");
        assert!(faulty.contains("compile_error") && faulty.contains("::kengine::PushforAt"), "{faulty}");
        assert!(!faulty.contains("Delivery"), "{faulty}");
        let union = expand("union At { x: u8 }");
        assert!(union.contains("compile_error") && !union.contains("::kengine::Push"), "{union}");
    }
}
