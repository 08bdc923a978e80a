//! The code for a valid composition.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Generics, Ident, Path, Type, TypeParam, parse_quote, spanned::Spanned};

use super::model::{Composition, Part};
use crate::hook::Hook;
use crate::method;
use crate::spans::{at, respanned};
use crate::tokens::{allow_deprecated, plain};

/// Implements the dispatcher: its constants combine those of the fields, and its methods call the fields' methods.
pub(crate) fn expand(composition: &Composition<'_>) -> TokenStream {
    let Composition { options, input, first, .. } = composition;
    let (krate, ident) = (&options.krate, &input.ident);
    let silent = allow_deprecated(input.attrs.iter().chain(composition.parts().flat_map(|part| part.attrs)));
    let session = session(composition);
    let syntax = of(krate, first, "SYNTAX");
    let routes = composition.parts().map(|part| of(krate, part, "ROUTES"));
    let hooks = composition.parts().map(|part| of(krate, part, "HOOKS"));
    let reads_late = composition.parts().map(|part| of(krate, part, "READS_LATE"));
    // Without the option `session`, the first field's session is that of the struct, so it needs no check.
    let checked = composition.parts().skip(usize::from(options.session.is_none())).map(|part| {
        let (at, ty) = (at(part.ty.span()), &part.ty);
        let krate = respanned(krate.to_token_stream(), at);
        quote_spanned!(at=> let () = <<#ty as #krate::Dispatcher>::Session as #krate::__private::IsSameSession<Self::Session>>::CHECKED;)
    });

    // `cargo check` evaluates the checks of a struct without parameters. Others are evaluated when the program is
    // built.
    let (mut now, mut later) = (Vec::new(), Vec::new());
    for (index, part) in composition.parts().enumerate().skip(1) {
        for check in checks(composition, index, part) {
            if input.generics.params.is_empty() {
                let krate = respanned(krate.to_token_stream(), part.at);
                now.push(quote_spanned! {part.at=>
                    #silent
                    const _: () = {
                        use #krate::__private::Unfit as _;
                        #check
                    };
                });
            } else {
                later.push(check);
            }
        }
    }

    let dispatch = dispatch(composition);
    let passed = Hook::listed().map(|hook| pass(composition, hook));
    let bounded = generics(composition, &session);
    let (generics, _, clause) = bounded.split_for_impl();
    let (_, arguments, _) = input.generics.split_for_impl();
    let implementation = quote! {
        use #krate::__private::Unfit as _;

        #silent
        #[automatically_derived]
        impl #generics #krate::Dispatcher for #ident #arguments #clause {
            type Session = #session;
            const SYNTAX: #krate::wire::Syntax = #syntax;
            const ROUTES: &'static [#krate::wire::Route] = {
                #(#checked)*
                #krate::__private::Table::routes(const { #(#later)* &#krate::__private::Table::new(&[#(#routes),*]) })
            };
            const READS_LATE: ::core::primitive::bool = #(#reads_late)&&*;
            const HOOKS: #krate::wire::Hooks = #krate::__private::hooks(&[#(#hooks),*]);

            #dispatch
            #(#passed)*
        }
    };
    let scope = method::scope(krate, &implementation);
    quote!(#(#now)* #scope)
}

/// Returns the session that was given, or that of the first field. The latter has the span of the field's type, where
/// rustc then reports that the type is not a dispatcher.
fn session(composition: &Composition<'_>) -> TokenStream {
    if let Some(session) = &composition.options.session {
        return session.to_token_stream();
    }
    let first = &composition.first.ty;
    let at = at(first.span());
    let krate = respanned(composition.options.krate.to_token_stream(), at);
    quote_spanned!(at=> <#first as #krate::Dispatcher>::Session)
}

/// Returns the generics with a bound for each parameter that is the type of a field: it must be a dispatcher with this
/// session.
fn generics(composition: &Composition<'_>, session: &TokenStream) -> Generics {
    let Composition { options, input, first, .. } = composition;
    let krate = &options.krate;
    let mut bounded = input.generics.clone();
    if input.generics.params.is_empty() && options.session.is_none() {
        // The session is that of the first field. If the field is not a dispatcher, this bound is the only error.
        // Without it, rustc would report one for each method of the implementation.
        let (first, at) = (&first.ty, at(first.ty.span()));
        let krate = respanned(krate.to_token_stream(), at);
        let bound = quote_spanned!(at=> #first: #krate::Dispatcher);
        bounded.make_where_clause().predicates.push(parse_quote!(#bound));
    }
    for TypeParam { ident, .. } in input.generics.type_params() {
        let is_parameter = |part: &Part<'_>| matches!(plain(&part.ty), Type::Path(path) if path.path.is_ident(ident));
        let Some(index) = composition.parts().position(is_parameter) else { continue };
        let session = (index > 0 || options.session.is_some()).then(|| quote!(<Session = #session>));
        bounded.make_where_clause().predicates.push(parse_quote!(#ident: #krate::Dispatcher #session));
    }
    bounded
}

/// Returns the checks of a field against the fields before it.
fn checks(composition: &Composition<'_>, index: usize, part: &Part<'_>) -> Vec<TokenStream> {
    let before = || composition.parts().take(index);
    let (at, first) = (part.at, &composition.first);
    let krate = &respanned(composition.options.krate.to_token_stream(), at);
    let (routes, others) = (of(krate, part, "ROUTES"), before().map(|other| of(krate, other, "ROUTES")));
    let (syntax, name, expected) = (of(krate, part, "SYNTAX"), &first.name, of(krate, first, "SYNTAX"));
    let mut checks = vec![
        quote_spanned!(at=> #krate::__private::check_routes(#routes, &[#(#others),*]);),
        quote_spanned!(at=> #krate::__private::check_syntax(#syntax, #name, #expected);),
    ];
    checks.extend(Hook::listed().map(|hook| {
        let (name, hook, has) = (hook.name(), hook.ident(at), of(krate, part, "HOOKS"));
        let others = before().map(|other| {
            let (name, hooks) = (&other.name, of(krate, other, "HOOKS"));
            quote_spanned!(at=> (#name, #hooks.#hook))
        });
        quote_spanned!(at=> #krate::__private::check_hook(#name, #has.#hook, &[#(#others),*]);)
    }));
    checks
}

/// Defines `dispatch`, which offers the message to each field until one takes it.
fn dispatch(composition: &Composition<'_>) -> TokenStream {
    let krate = &composition.options.krate;
    let fields = composition.parts().enumerate().map(|(index, part)| {
        let (dispatcher, context) = (dispatcher(krate, part), context(composition, index));
        quote! {
            if #krate::Dispatcher::dispatch(#dispatcher, #context, answer).await? {
                return #krate::__private::Ok(true);
            }
        }
    });
    method::dispatch(krate, &quote!(Self::Session), &quote!(#(#fields)* #krate::__private::Ok(false)))
}

/// Defines the method of a hook, which calls that of the one field that has the hook:
///
/// ```text
/// async fn open(&self, context: Context<'_, Self::Session>) -> Result<()> {
///     if __private::Part::<Combat, ()>::HOOKS.open {
///         return Dispatcher::open(__private::part::<_, Self::Session>(&self.combat).dispatcher(), …).await;
///     }
///     …
///     Dispatcher::open(__private::part::<_, Self::Session>(&self.chat).dispatcher(), …).await
/// }
/// ```
///
/// The first field comes last, without a condition: if no field has the hook, the default method does the same for
/// every field.
fn pass(composition: &Composition<'_>, hook: Hook) -> TokenStream {
    let krate = &composition.options.krate;
    let name = hook.ident(Span::call_site());
    let call = |index, part| {
        let dispatcher = dispatcher(krate, part);
        let arguments = method::forwarded(hook, context(composition, index));
        quote!(#krate::Dispatcher::#name(#dispatcher, #arguments).await)
    };
    let others = composition.parts().enumerate().skip(1).map(|(index, part)| {
        let (hooks, call) = (of(krate, part, "HOOKS"), call(index, part));
        quote! {
            if #hooks.#name {
                return #call;
            }
        }
    });
    let first = call(0, &composition.first);
    method::hook(hook, krate, &quote!(Self::Session), &quote!(#(#others)* #first))
}

/// Returns the context of one field, whose routes follow those of the fields before it.
fn context(composition: &Composition<'_>, index: usize) -> TokenStream {
    let krate = &composition.options.krate;
    let before = composition.parts().take(index).map(|part| of(krate, part, "ROUTES"));
    quote!(#krate::__private::shifted(context, 0 #(+ #before.len())*))
}

/// `__private::part::<_, Self::Session>(&self.chat).dispatcher()`
fn dispatcher(krate: &Path, part: &Part<'_>) -> TokenStream {
    let (at, member) = (at(part.ty.span()), &part.member);
    let krate = respanned(krate.to_token_stream(), at);
    quote_spanned!(at=> #krate::__private::part::<_, Self::Session>(&self.#member).dispatcher())
}

/// `__private::Part::<Chat, ()>::NAME`
fn of(krate: impl ToTokens, part: &Part<'_>, name: &str) -> TokenStream {
    let (ty, name) = (&part.ty, Ident::new(name, Span::call_site()));
    quote!(#krate::__private::Part::<#ty, ()>::#name)
}
