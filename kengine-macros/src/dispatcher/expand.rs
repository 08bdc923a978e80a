//! The code for a valid block.

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Path, Type};

use super::args::Syntax;
use super::call::call;
use super::handler::Handler;
use super::policy::Policy;
use super::validate::{Dispatcher, Route};
use super::{cfgs, session};
use crate::{
    hook::Hook,
    method,
    spans::{ReturnSpans, respanned},
    tokens::{allow_deprecated, lifetimes},
};

/// Writes the block as it was, and after it
///
/// ```text
/// impl ::kengine::Dispatcher for Game {
///     type Session = ();
///     const ROUTES: &'static [::kengine::wire::Route] = &[::kengine::wire::Route::new("chat")];
///     async fn dispatch(&self, …) -> … { match … { "chat" => …, _ => … } }
/// }
/// ```
pub(crate) fn expand(dispatcher: &Dispatcher<'_>) -> TokenStream {
    let Dispatcher { args, block, routes, .. } = dispatcher;
    let krate = &args.krate;
    let ty = &block.header.self_ty;
    let (generics, _, clause) = block.header.generics.split_for_impl();

    let session_type = session::declaration(dispatcher);
    let session = session::name(dispatcher);
    let syntax = syntax(dispatcher);
    let table = routes.iter().map(|Route { name, policy, handler }| {
        let (cfgs, limits) = (&handler.cfgs, limits(policy));
        quote!(#cfgs #krate::wire::Route::new(#name)#limits)
    });
    let listed = listed(dispatcher);
    let dispatch = (!routes.is_empty()).then(|| dispatch(dispatcher, &session));
    let hooks = Hook::ALL.iter().flat_map(|hook| {
        let session = &session;
        dispatcher.hooks(*hook).flat_map(move |handler| {
            handler.calls().into_iter().map(move |(cfg, arguments)| {
                let (cfgs, body) = (&handler.cfgs, hook_body(dispatcher, *hook, handler, &arguments, session));
                let method = method::hook(*hook, krate, session, &body);
                quote!(#cfgs #cfg #method)
            })
        })
    });
    let handlers = block.items.iter().filter(|item| !item.marks.is_empty());
    let silent = allow_deprecated(block.header.attrs.iter().chain(handlers.flat_map(|item| &item.attrs)));
    let implementation = quote! {
        #silent
        #[automatically_derived]
        impl #generics #krate::Dispatcher for #ty #clause {
            #session_type
            #syntax
            const ROUTES: &'static [#krate::wire::Route] = &[#(#table),*];
            const READS_LATE: ::core::primitive::bool = true;
            #listed
            #dispatch
            #(#hooks)*
        }
    };
    let scope = method::scope(krate, &implementation);
    quote!(#block #scope)
}

/// Writes `const SYNTAX`, unless it is the default.
fn syntax(dispatcher: &Dispatcher<'_>) -> Option<TokenStream> {
    let krate = &dispatcher.args.krate;
    let value = match dispatcher.args.syntax()? {
        Syntax::Flat(key) => quote!(flat(#key)),
        Syntax::Nested(key, payload) => quote!(new(#key, #payload)),
    };
    Some(quote!(const SYNTAX: #krate::wire::Syntax = #krate::wire::Syntax::#value;))
}

/// Writes what follows `Route::new("move")`:
///
/// ```text
/// .rate(30, ::core::time::Duration::from_secs(1), 60).max_size(512).timeout(::core::time::Duration::from_millis(50))
/// ```
fn limits(policy: &Policy) -> TokenStream {
    let rate = policy.rate.as_ref().map(|rate| {
        let [count, seconds, burst] = [rate.count.into(), rate.seconds, rate.burst.into()].map(Literal::u64_unsuffixed);
        quote!(.rate(#count, ::core::time::Duration::from_secs(#seconds), #burst))
    });
    let max_size = policy.max_size.map(|bytes| {
        let bytes = Literal::u64_unsuffixed(bytes);
        quote!(.max_size(#bytes))
    });
    let timeout = policy.timeout.map(|millis| quote!(.timeout(::core::time::Duration::from_millis(#millis))));
    quote!(#rate #max_size #timeout)
}

/// Writes `const HOOKS`, if there are any.
fn listed(dispatcher: &Dispatcher<'_>) -> Option<TokenStream> {
    let krate = &dispatcher.args.krate;
    let fields: Vec<_> = Hook::listed()
        .filter(|hook| dispatcher.hooks(*hook).next().is_some())
        .map(|hook| {
            let name = hook.ident(Span::call_site());
            let value = cfgs::any(dispatcher.hooks(hook).map(|handler| &handler.cfgs))
                .map_or_else(|| quote!(true), |condition| quote!(::core::cfg!(#condition)));
            quote!(hooks.#name = #value;)
        })
        .collect();
    (!fields.is_empty()).then(|| {
        quote! {
            const HOOKS: #krate::wire::Hooks = {
                let mut hooks = #krate::wire::Hooks::NONE;
                #(#fields)*
                hooks
            };
        }
    })
}

/// Defines the method that takes messages to their routes:
///
/// ```text
/// async fn dispatch(&self, context: Context<'_, ()>, answer: &mut Answer) -> Result<bool> {
///     match __private::route(context) {
///         "chat" => …,
///         _ => return Ok(false),
///     }
///     Ok(true)
/// }
/// ```
fn dispatch(dispatcher: &Dispatcher<'_>, session: &TokenStream) -> TokenStream {
    let krate = &dispatcher.args.krate;
    let guarded = dispatcher.hooks(Hook::Before).next().is_some();
    let mut fixed = true;
    let arms = dispatcher.routes.iter().enumerate().map(|(index, Route { name, policy, handler })| {
        let cfgs = &handler.cfgs;
        fixed &= cfgs.is_empty();
        // A literal, as long as no `cfg` decides how many routes precede it.
        let index = if fixed {
            Literal::usize_unsuffixed(index).into_token_stream()
        } else {
            quote!(const { #krate::__private::position::<Self>(#name) })
        };
        let route = quote!(&<Self as #krate::Dispatcher>::ROUTES[#index]);
        let limit = (!policy.is_empty()).then(|| quote!(#krate::__private::limit(context, #route)?;));
        let before = guarded.then(|| {
            quote! {
                let call = #krate::__private::call(context, #route);
                #krate::Dispatcher::before(self, context, &call).await?;
            }
        });
        let arms = handler.calls().into_iter().map(|(cfg, arguments)| {
            // If there are arguments, the last one does this check.
            let no_message = arguments.is_empty().then(|| quote!(#krate::__private::no_message(context, answer)?;));
            let call = call(krate, handler, &arguments, session, may_box(dispatcher));
            let reply = reply(krate, handler);
            quote! {
                #cfgs
                #cfg
                #name => {
                    #krate::__private::enter(context, #index);
                    #limit
                    #before
                    #no_message
                    let returned = #call;
                    #reply
                }
            }
        });
        quote!(#(#arms)*)
    });
    let body = quote! {
        #[deny(unreachable_patterns)]
        match #krate::__private::route(context) {
            #(#arms)*
            _ => return #krate::__private::Ok(false),
        }
        #krate::__private::Ok(true)
    };
    method::dispatch(krate, session, &body)
}

/// Whether large futures are boxed: a constant that tells their size cannot depend on a parameter of the block, nor on
/// a lifetime that its type elides.
fn may_box(dispatcher: &Dispatcher<'_>) -> bool {
    let header = &dispatcher.block.header;
    header.generics.params.is_empty() && lifetimes(&header.self_ty).is_empty()
}

/// Writes the value that a handler returned into the answer, or returns why it cannot be written:
///
/// ```text
/// let reply = __private::returned(&returned)[Verdict].result(returned).map_err(__private::IsErrorReply::into_error)?;
/// __private::IsReply::write(reply, answer)?;
/// ```
fn reply(krate: &Path, handler: &Handler<'_>) -> TokenStream {
    let (reply, span) = (value(krate, handler, "IsErrorReply", "into_error"), ReturnSpans::of(handler.signature).value);
    let krate = respanned(krate.to_token_stream(), span);
    let write = quote_spanned!(span=> #krate::__private::IsReply::write(reply, answer)?);
    quote!(let reply = #reply; #write;)
}

/// Writes the value that a handler returned, or returns its error:
///
/// ```text
/// __private::returned(&returned)[Verdict].result(returned).map_err(__private::IsRefusal::into_refusal)?
/// ```
fn value(krate: &Path, handler: &Handler<'_>, of: &str, into: &str) -> TokenStream {
    let error = ReturnSpans::of(handler.signature).error;
    let (of, into) = (Ident::new(of, error), Ident::new(into, error));
    let krate = respanned(krate.to_token_stream(), error);
    quote_spanned! {error=>
        #krate::__private::returned(&returned)[#krate::__private::Verdict]
            .result(returned)
            .map_err(#krate::__private::#of::#into)?
    }
}

/// Writes what the method of a hook does:
///
/// ```text
/// let returned = __private::handler_future(…).await;
/// __private::Ok(__private::IsLiveness::liveness(returned))
/// ```
///
/// The last call has the span of the returned value, where rustc reports a wrong type.
fn hook_body(
    dispatcher: &Dispatcher<'_>,
    hook: Hook,
    handler: &Handler<'_>,
    arguments: &[&Type],
    session: &TokenStream,
) -> TokenStream {
    let krate = &dispatcher.args.krate;
    let call = call(krate, handler, arguments, session, may_box(dispatcher));
    let span = ReturnSpans::of(handler.signature).value;
    let private = respanned(quote!(#krate::__private), span);
    let (output, last) = match hook {
        Hook::Accept => (
            Some(value(krate, handler, "IsRefusal", "into_refusal")),
            quote_spanned!(span=> #private::IsSession::<Self::Session>::session(returned)),
        ),
        Hook::Heartbeat => (None, quote_spanned!(span=> #private::IsLiveness::liveness(returned))),
        Hook::Fallback => {
            let reply = reply(krate, handler);
            return quote! {
                #krate::__private::no_message(context, answer)?;
                let returned = #call;
                #reply
                #krate::__private::Ok(())
            };
        }
        Hook::Open | Hook::Suspend | Hook::Resume | Hook::Close | Hook::Before => (
            Some(value(krate, handler, "IsErrorReply", "into_error")),
            quote_spanned!(span=> #private::IsHookOutput::end(returned)),
        ),
    };
    let output = output.map(|output| quote!(let returned = #output;));
    quote!(let returned = #call; #output #krate::__private::Ok(#last))
}
