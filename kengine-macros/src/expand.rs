//! The code for a valid block.

use proc_macro2::{Group, Ident, Literal, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{FnArg, GenericArgument, LitStr, PathArguments, ReturnType, Type, spanned::Spanned};

use crate::{
    model::{flatten, is_ident, plain},
    validate::{Dispatcher, Handler, Route},
};

/// Behind the block as it was written:
///
/// ```text
/// impl ::kengine::Dispatcher for Game {
///     type Session = ();
///     const ROUTES: &'static [::kengine::Route] = &[::kengine::Route::new("chat")];
///     async fn dispatch<'call>(…) -> … { match … { "chat" => …, _ => … } }
/// }
/// ```
pub(crate) fn expand(dispatcher: &Dispatcher<'_>) -> TokenStream {
    let Dispatcher { args, block, routes, heartbeats, .. } = dispatcher;
    let krate = &args.krate;
    let ty = &block.header.self_ty;
    let (generics, _, clause) = block.header.generics.split_for_impl();

    let syntax = syntax(dispatcher);
    let table = routes
        .iter()
        .map(|Route { name, handler: Handler { cfgs, .. } }| quote!(#(#cfgs)* #krate::Route::new(#name)));
    let dispatch = dispatch(dispatcher);
    let heartbeats = heartbeats.iter().map(|handler| heartbeat(dispatcher, handler));
    quote! {
        #block

        #[automatically_derived]
        impl #generics #krate::Dispatcher for #ty #clause {
            type Session = ();
            #syntax
            const ROUTES: &'static [#krate::Route] = &[#(#table),*];
            #dispatch
            #(#heartbeats)*
        }
    }
}

/// `const SYNTAX`, if it is not the default.
fn syntax(dispatcher: &Dispatcher<'_>) -> Option<TokenStream> {
    let (args, krate) = (dispatcher.args, &dispatcher.args.krate);
    let default = |name| LitStr::new(name, Span::call_site());
    let key = args.key.clone().unwrap_or_else(|| default("method"));
    let payload = args.payload.clone().unwrap_or_else(|| default("message"));
    let value = match (&args.flat, &args.key, &args.payload) {
        (Some(_), _, _) => quote!(flat(#key)),
        (None, None, None) => return None,
        _ => quote!(new(#key, #payload)),
    };
    Some(quote!(const SYNTAX: #krate::Syntax = #krate::Syntax::#value;))
}

/// ```text
/// async fn dispatch<'call>(&'call self, context: Context<'call, ()>, answer: &'call mut Answer) -> Result<()> {
///     match __private::route(context) {
///         "chat" => …,
///         _ => __private::unrouted(context),
///     }
/// }
/// ```
fn dispatch(dispatcher: &Dispatcher<'_>) -> TokenStream {
    let krate = &dispatcher.args.krate;
    let mut fixed = true;
    let arms = dispatcher.routes.iter().enumerate().map(|(index, route)| {
        let Route { name, handler } = route;
        let cfgs = &handler.cfgs;
        fixed &= cfgs.is_empty();
        // A literal as long as no `cfg` decides how many routes come before.
        let index = if fixed {
            Literal::usize_unsuffixed(index).into_token_stream()
        } else {
            quote!(const { __private::position::<Self>(#name) })
        };
        let check = no_message(handler);
        let reply = reply(handler, &call(handler, true));
        quote! {
            #(#cfgs)*
            #name => {
                __private::enter(answer, #index);
                #check
                #reply
            }
        }
    });
    let others = others(dispatcher);
    // `'call`, because `'a` is what a type with `for<'a>` in it would declare again.
    quote! {
        async fn dispatch<'call>(
            &'call self,
            context: #krate::Context<'call, ()>,
            answer: &'call mut #krate::Answer,
        ) -> #krate::Result<()> {
            use #krate::__private::{self, lookup::*};
            #[deny(unreachable_patterns)]
            match __private::route(context) {
                #(#arms)*
                #others
            }
        }
    }
}

/// The arms behind those of the routes: the fallback's, or the one that refuses.
fn others(dispatcher: &Dispatcher<'_>) -> TokenStream {
    let fallbacks = dispatcher.fallbacks.iter().map(|handler| {
        let (cfgs, reply) = (&handler.cfgs, reply(handler, &call(handler, false)));
        quote! {
            #(#cfgs)*
            _ => {
                __private::no_message(context)?;
                #reply
            }
        }
    });
    if dispatcher.fallbacks.iter().any(|handler| handler.cfgs.is_empty()) {
        return quote!(#(#fallbacks)*);
    }
    // `#[cfg(a)] #[cfg(b)]` on the fallback leaves `#[cfg(not(all(a, b)))]` to the refusal.
    let unless = (!dispatcher.fallbacks.is_empty()).then(|| {
        let conditions = dispatcher.fallbacks.iter().map(|handler| {
            let conditions =
                handler.cfgs.iter().map(|cfg| cfg.meta.require_list().map(|list| &list.tokens).ok());
            quote!(all(#(#conditions),*))
        });
        quote!(#[cfg(not(any(#(#conditions),*)))])
    });
    quote! {
        #(#fallbacks)*
        #unless
        _ => __private::unrouted(context),
    }
}

/// ```text
/// async fn heartbeat<'call>(&'call self, context: Context<'call, ()>) -> Result<Liveness> {
///     let returned = __private::sent(…).await;
///     __private::Returned(returned).liveness()
/// }
/// ```
fn heartbeat(dispatcher: &Dispatcher<'_>, handler: &Handler<'_>) -> TokenStream {
    let (krate, cfgs) = (&dispatcher.args.krate, &handler.cfgs);
    let call = call(handler, false);
    let liveness = quote_spanned!(at(output(handler).value)=> __private::Returned(returned).liveness());
    quote! {
        #(#cfgs)*
        async fn heartbeat<'call>(
            &'call self,
            context: #krate::Context<'call, ()>,
        ) -> #krate::Result<#krate::Liveness> {
            use #krate::__private;
            let returned = #call;
            #liveness
        }
    }
}

/// `__private::no_message(context)?;` for a route that takes no argument at all, which then is not its last
/// argument's to check.
fn no_message(handler: &Handler<'_>) -> Option<TokenStream> {
    arguments(handler).next().is_none().then(|| quote!(__private::no_message(context)?;))
}

/// ```text
/// let returned = __private::sent(…).await;
/// let reply = __private::Returned(returned).outcome()?;
/// reply.write(answer)
/// ```
///
/// Line by line, because what rustc says about a `Result`'s error belongs on one place and what it says about its
/// value on another.
fn reply(handler: &Handler<'_>, call: &TokenStream) -> TokenStream {
    let output = output(handler);
    let outcome = quote_spanned!(at(output.error)=> __private::Returned(returned).outcome()?);
    let write = quote_spanned!(at(output.value)=> reply.write(answer));
    quote! {
        let returned = #call;
        let reply = #outcome;
        #write
    }
}

/// `__private::sent(Self::chat(self, …)).await`, all of it on the method's name: there rustc reports a future
/// that is not `Send`.
fn call(handler: &Handler<'_>, last_may_be_message: bool) -> TokenStream {
    let name = &handler.signature.ident;
    let count = arguments(handler).count();
    let arguments = arguments(handler).enumerate().map(|(index, ty)| {
        let last = index + 1 == count;
        argument(handler, ty, last_may_be_message, last)
    });
    quote_spanned!(at(name.span())=> __private::sent(Self::#name(self #(, #arguments)*)).await)
}

/// One argument of a call:
///
/// ```text
/// &Connection   →   __private::context::<&Connection, ()>(context)?
/// Player        →   __private::leading::<Player, ()>(context)?
/// Chat<'a>      →   __private::last::<Chat<'_>, ()>(context).argument()?
/// ```
///
/// The first two differ in the words of their errors alone.
fn argument(handler: &Handler<'_>, ty: &Type, last_may_be_message: bool, last: bool) -> TokenStream {
    let elided = elided(handler, ty);
    if last_may_be_message && last {
        let argument = quote_spanned!(at(ty.span())=> argument);
        quote!(__private::last::<#elided, ()>(context).#argument()?)
    } else if last_may_be_message && !matches!(plain(ty), Type::Reference(_)) {
        quote!(__private::leading::<#elided, ()>(context)?)
    } else {
        quote!(__private::context::<#elided, ()>(context)?)
    }
}

/// The types of the arguments behind `&self`.
fn arguments<'a>(handler: &Handler<'a>) -> impl Iterator<Item = &'a Type> {
    handler.signature.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(argument) => Some(&*argument.ty),
        FnArg::Receiver(_) => None,
    })
}

/// The type with `'_` in place of every lifetime that has no meaning where the method is called: its own ones, and,
/// so that rustc reports them once, those that are declared nowhere.
fn elided(handler: &Handler<'_>, ty: &Type) -> TokenStream {
    let tokens = ty.to_token_stream();
    // A type may declare lifetimes itself; then only the method's are sure to be none of them.
    let declares = flatten(tokens.clone()).iter().any(|token| is_ident(token, "for"));
    let own = |ident: &Ident| handler.signature.generics.lifetimes().any(|own| own.lifetime.ident == *ident);
    elide(tokens, &|ident| ident != "static" && (own(ident) || !declares))
}

fn elide(tokens: TokenStream, which: &dyn Fn(&Ident) -> bool) -> TokenStream {
    let mut quoted = false;
    let token = |token| match token {
        TokenTree::Group(group) => {
            let mut elided = Group::new(group.delimiter(), elide(group.stream(), which));
            elided.set_span(group.span());
            elided.into()
        }
        TokenTree::Ident(ident) if std::mem::take(&mut quoted) && which(&ident) => {
            Ident::new("_", ident.span()).into()
        }
        token => {
            quoted = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '\'');
            token
        }
    };
    tokens.into_iter().map(token).collect()
}

/// Where to report what is wrong with a return type.
struct Output {
    value: Span,
    error: Span,
}

/// For `Result<T, E>` its two parts. A `Result` of another name behaves the same, its errors are only shown on
/// the whole.
fn output(handler: &Handler<'_>) -> Output {
    let ty = match &handler.signature.output {
        ReturnType::Default => {
            let span = handler.signature.ident.span();
            return Output { value: span, error: span };
        }
        ReturnType::Type(_, ty) => plain(ty),
    };
    let mut output = Output { value: ty.span(), error: ty.span() };
    if let Type::Path(path) = ty
        && let Some(last) = path.path.segments.last()
        && last.ident == "Result"
        && let PathArguments::AngleBracketed(list) = &last.arguments
    {
        let mut types = list.args.iter().filter_map(|argument| match argument {
            GenericArgument::Type(ty) => Some(ty.span()),
            _ => None,
        });
        output.value = types.next().unwrap_or(output.value);
        output.error = types.next().unwrap_or(output.error);
    }
    output
}

/// Generated code that reports its errors there.
fn at(span: Span) -> Span {
    Span::call_site().located_at(span)
}
