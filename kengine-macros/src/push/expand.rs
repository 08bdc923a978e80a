//! The code for a valid push.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::{parse_quote, spanned::Spanned};

use super::model::{Delivery, Push};
use crate::spans::{at, respanned};
use crate::tokens::allow_deprecated;

/// Implements the trait:
///
/// ```text
/// impl ::kengine::Push for Position where u32: ::kengine::__private::IsPushKey {
///     const NAME: &'static str = "position";
///     const DELIVERY: ::kengine::push::Delivery = ::kengine::push::Delivery::Latest;
///     fn key(&self) -> impl ::kengine::__private::Serialize { (::kengine::__private::IsPushKey::field(&self.player), ()) }
/// }
/// ```
pub(crate) fn expand(push: &Push<'_>) -> TokenStream {
    let Push { krate, name, input, delivery } = push;
    let ident = &input.ident;
    let silent = allow_deprecated(input.attrs.iter());
    let (latest, fields) = match delivery {
        Delivery::Reliable => (None, [].as_slice()),
        Delivery::Latest(fields) => {
            (Some(quote!(const DELIVERY: #krate::push::Delivery = #krate::push::Delivery::Latest;)), fields.as_slice())
        }
    };
    let key = (!fields.is_empty()).then(|| {
        // Nested pairs, because serde implements `Serialize` for tuples of at most 16 fields.
        let key = fields
            .iter()
            .rev()
            .fold(quote!(()), |rest, (member, _)| quote!((#krate::__private::IsPushKey::field(&self.#member), #rest)));
        quote! {
            fn key(&self) -> impl #krate::__private::Serialize {
                #key
            }
        }
    });

    let mut bounded = input.generics.clone();
    let (_, arguments, _) = input.generics.split_for_impl();
    // The macro does not know which bounds serde's derive puts on the parameters, so this bound is on the type.
    if input.generics.type_params().next().is_some() {
        let bound = parse_quote!(#ident #arguments: #krate::__private::IsSerialize);
        bounded.make_where_clause().predicates.push(bound);
    }
    // This bound is there even without parameters: if it does not hold, rustc reports that and nothing else.
    for (member, ty) in fields {
        let at = at(member.span());
        let (ty, krate) = (respanned(ty.to_token_stream(), at), respanned(krate.to_token_stream(), at));
        let bound = quote_spanned!(at=> #ty: #krate::__private::IsPushKey);
        bounded.make_where_clause().predicates.push(parse_quote!(#bound));
    }
    let (generics, _, clause) = bounded.split_for_impl();
    quote! {
        #silent
        #[automatically_derived]
        impl #generics #krate::Push for #ident #arguments #clause {
            const NAME: &'static ::core::primitive::str = #name;
            #latest
            #key
        }
    }
}
