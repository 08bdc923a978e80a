//! The code for a valid push.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{parse_quote, spanned::Spanned};

use super::model::{Delivery, Push};
use crate::{spans::at, tokens::mentions_parameter};

/// Implements the trait:
///
/// ```text
/// impl ::kengine::Push for Position {
///     const NAME: &'static str = "position";
///     const DELIVERY: ::kengine::push::Delivery = ::kengine::push::Delivery::Latest;
///     fn key(&self) -> impl ::kengine::__private::Serialize { (::kengine::__private::IsPushKey::field(&self.player), ()) }
/// }
/// ```
pub(crate) fn expand(push: &Push<'_>) -> TokenStream {
    let Push { krate, name, input, delivery } = push;
    let ident = &input.ident;
    let (latest, fields) = match delivery {
        Delivery::Reliable => (None, [].as_slice()),
        Delivery::Latest(fields) => (
            Some(quote!(const DELIVERY: #krate::push::Delivery = #krate::push::Delivery::Latest;)),
            fields.as_slice(),
        ),
    };
    let key = (!fields.is_empty()).then(|| {
        // Nested pairs, because serde implements `Serialize` for tuples of at most 16 fields.
        let key = fields.iter().rev().fold(quote!(()), |rest, (member, _)| {
            quote_spanned!(at(member.span())=> (#krate::__private::IsPushKey::field(&self.#member), #rest))
        });
        quote! {
            fn key(&self) -> impl #krate::__private::Serialize {
                #key
            }
        }
    });

    let mut bounded = input.generics.clone();
    let (_, arguments, _) = input.generics.split_for_impl();
    // Which bounds serde's derive puts on the parameters is not known here, so the bound is on the type.
    if input.generics.type_params().next().is_some() {
        let clause = bounded.make_where_clause();
        clause.predicates.push(parse_quote!(#ident #arguments: #krate::__private::IsSerialize));
        for (_, ty) in fields.iter().filter(|(_, ty)| mentions_parameter(&input.generics, ty)) {
            clause.predicates.push(parse_quote!(#ty: #krate::__private::Serialize));
        }
    }
    let (generics, _, clause) = bounded.split_for_impl();
    quote! {
        #[automatically_derived]
        impl #generics #krate::Push for #ident #arguments #clause {
            const NAME: &'static str = #name;
            #latest
            #key
        }
    }
}
