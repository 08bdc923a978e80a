//! The code for a valid block.

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{GenericArgument, Generics, LitStr, Path, PathArguments, ReturnType, Type, spanned::Spanned};

use crate::{
    attr::Kind,
    call::no_message,
    model::{mentions_parameter, plain},
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
    let Dispatcher { args, block, routes, .. } = dispatcher;
    let krate = &args.krate;
    let ty = &block.header.self_ty;
    let (generics, _, clause) = block.header.generics.split_for_impl();

    let expansion = Expansion { krate, session: session(dispatcher) };
    let session = expansion.types(dispatcher);
    let syntax = syntax(dispatcher);
    let table = routes.iter().map(|Route { name, handler }| {
        let (cfgs, policy) = (&handler.cfgs, handler.policy().builder());
        quote!(#(#cfgs)* #krate::wire::Route::new(#name)#policy)
    });
    let known = known(dispatcher);
    let dispatch = (!routes.is_empty()).then(|| expansion.dispatch(dispatcher));
    let hooks = [Kind::Accept, Kind::Open, Kind::Close, Kind::Before, Kind::Heartbeat, Kind::Fallback]
        .into_iter()
        .flat_map(|kind| dispatcher.hooks(kind).map(move |hook| (kind, hook)))
        .map(|(kind, hook)| expansion.hook(kind, hook));
    quote! {
        #block

        #[automatically_derived]
        impl #generics #krate::Dispatcher for #ty #clause {
            #session
            #syntax
            const ROUTES: &'static [#krate::wire::Route] = &[#(#table),*];
            #known
            #dispatch
            #(#hooks)*
        }
    }
}

/// What all of an expansion names: the framework, and the session.
pub(crate) struct Expansion<'a> {
    krate: &'a Path,
    pub(crate) session: TokenStream,
}

/// How the trait declares the method of a hook.
pub(crate) struct Method {
    /// Those behind `&self`.
    pub(crate) arguments: TokenStream,
    /// The same, behind the first, to pass them on.
    pub(crate) passed: Option<TokenStream>,
    pub(crate) returns: TokenStream,
}

impl Method {
    pub(crate) fn of(kind: Kind, krate: &Path, session: &TokenStream) -> Self {
        let context = quote!(context: #krate::Context<'call, #session>);
        let (arguments, passed) = match kind {
            Kind::Accept => (quote!(handshake: &'call #krate::Handshake), None),
            Kind::Close => {
                (quote!(#context, reason: &'call #krate::DisconnectReason), Some(quote!(, reason)))
            }
            Kind::Before => (quote!(#context, call: &'call #krate::Call), Some(quote!(, call))),
            Kind::Fallback => {
                (quote!(#context, answer: &'call mut #krate::wire::Answer), Some(quote!(, answer)))
            }
            Kind::Open | Kind::Heartbeat | Kind::Route => (context, None),
        };
        let returns = match kind {
            Kind::Accept => quote!(#krate::Result<Self::Session, #krate::Refusal>),
            Kind::Heartbeat => quote!(#krate::Result<#krate::Liveness>),
            _ => quote!(#krate::Result<()>),
        };
        Self { arguments, passed, returns }
    }
}

/// The session as the methods name it: as short as can be.
fn session(dispatcher: &Dispatcher<'_>) -> TokenStream {
    let named = dispatcher.args.session.is_some() || dispatcher.hooks(Kind::Accept).next().is_some();
    if named { quote!(Self::Session) } else { quote!(()) }
}

/// `#[cfg(not(any(all(a, b), …)))]`, if every one of these is under `cfg`s; `None` if one is always there.
fn unless<'a>(handlers: impl Iterator<Item = &'a Handler<'a>>) -> Option<TokenStream> {
    let conditions = conditions(handlers)?;
    Some(quote!(#[cfg(not(#conditions))]))
}

/// `any(all(a, b), …)`, the condition under which one of these is there; `None` if one always is.
fn conditions<'a>(handlers: impl Iterator<Item = &'a Handler<'a>>) -> Option<TokenStream> {
    let mut conditions = Vec::new();
    for Handler { cfgs, .. } in handlers {
        if cfgs.is_empty() {
            return None;
        }
        let all = cfgs.iter().map(|cfg| cfg.meta.require_list().map(|list| &list.tokens).ok());
        conditions.push(quote!(all(#(#all),*)));
    }
    Some(quote!(any(#(#conditions),*)))
}

/// `const HOOKS`, if there are any.
fn known(dispatcher: &Dispatcher<'_>) -> Option<TokenStream> {
    let krate = &dispatcher.args.krate;
    let kinds = [Kind::Accept, Kind::Open, Kind::Close, Kind::Heartbeat, Kind::Fallback];
    let fields: Vec<_> = kinds
        .into_iter()
        .filter(|kind| dispatcher.hooks(*kind).next().is_some())
        .map(|kind| {
            let name = Ident::new(kind.name(), Span::call_site());
            let value = conditions(dispatcher.hooks(kind))
                .map_or_else(|| quote!(true), |conditions| quote!(::core::cfg!(#conditions)));
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
    Some(quote!(const SYNTAX: #krate::wire::Syntax = #krate::wire::Syntax::#value;))
}

impl Expansion<'_> {
    /// `type Session = …;`
    fn types(&self, dispatcher: &Dispatcher<'_>) -> TokenStream {
        let krate = self.krate;
        let mut accepts = dispatcher.hooks(Kind::Accept).peekable();
        match (&dispatcher.args.session, accepts.peek()) {
            (Some(session), _) => return quote! { type Session = #session; },
            (None, None) => return quote! { type Session = (); },
            (None, Some(_)) => {}
        }
        let types = accepts.clone().map(|Handler { cfgs, signature, .. }| {
            let admission = admission(krate, &dispatcher.block.header.generics, &signature.output);
            quote!(#(#cfgs)* type Session = #admission;)
        });
        let otherwise = unless(accepts).map(|unless| quote!(#unless type Session = ();));
        quote!(#(#types)* #otherwise)
    }

    /// ```text
    /// async fn dispatch<'call>(&'call self, context: Context<'call, ()>, answer: &'call mut Answer) -> Result<bool> {
    ///     match __private::route(context) {
    ///         "chat" => …,
    ///         _ => return Ok(false),
    ///     }
    ///     Ok(true)
    /// }
    /// ```
    fn dispatch(&self, dispatcher: &Dispatcher<'_>) -> TokenStream {
        let Self { krate, session } = self;
        let guarded = dispatcher.hooks(Kind::Before).next().is_some();
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
            let policy = (!handler.policy().is_empty())
                .then(|| quote!(__private::limit(context, answer, &Self::ROUTES[#index])?;));
            let before = guarded.then(|| {
                quote! {
                    let call = __private::call(context, &Self::ROUTES[#index]);
                    #krate::Dispatcher::before(self, context, &call).await?;
                }
            });
            let check = no_message(handler);
            let reply = reply(handler, &self.call(Kind::Route, handler));
            quote! {
                #(#cfgs)*
                #name => {
                    __private::enter(context, answer, #index);
                    #policy
                    #before
                    #check
                    #reply
                }
            }
        });
        // `'call`, because `'a` is what a type with `for<'a>` in it would declare again.
        quote! {
            async fn dispatch<'call>(
                &'call self,
                context: #krate::Context<'call, #session>,
                answer: &'call mut #krate::wire::Answer,
            ) -> #krate::Result<bool> {
                use #krate::__private::{self, lookup::*};
                #[deny(unreachable_patterns)]
                match __private::route(context) {
                    #(#arms)*
                    _ => return __private::Ok(false),
                }
                __private::Ok(true)
            }
        }
    }

    /// ```text
    /// async fn heartbeat<'call>(&'call self, context: Context<'call, ()>) -> Result<Liveness> {
    ///     let returned = __private::sent(…).await;
    ///     __private::Returned(returned).liveness()
    /// }
    /// ```
    fn hook(&self, kind: Kind, handler: &Handler<'_>) -> TokenStream {
        let Self { krate, session } = self;
        let cfgs = &handler.cfgs;
        let name = Ident::new(kind.name(), Span::call_site());
        let method = Method::of(kind, krate, session);
        let (arguments, returns, call) = (method.arguments, method.returns, self.call(kind, handler));
        let output = output(handler);
        let outcome = quote_spanned!(at(output.error)=> __private::Returned(returned).outcome()?);
        let body = match kind {
            Kind::Accept => {
                let admitted = quote_spanned!(at(output.error)=> __private::Returned(returned).admitted());
                let session =
                    quote_spanned!(at(output.value)=> __private::session::<Self::Session, _>(admitted));
                quote! {
                    let admitted = #admitted;
                    #session
                }
            }
            Kind::Heartbeat => {
                quote_spanned!(at(output.value)=> __private::Returned(returned).liveness())
            }
            Kind::Fallback => {
                let write = quote_spanned!(at(output.value)=> reply.write(answer));
                quote! {
                    let reply = #outcome;
                    #write;
                    __private::Ok(())
                }
            }
            Kind::Open | Kind::Close | Kind::Before | Kind::Route => {
                let nothing = quote_spanned!(at(output.value)=> outcome.nothing());
                quote! {
                    let outcome = #outcome;
                    #nothing
                }
            }
        };
        let check = (kind == Kind::Fallback).then(|| quote!(__private::no_message(context)?;));
        quote! {
            #(#cfgs)*
            async fn #name<'call>(&'call self, #arguments) -> #returns {
                use #krate::__private::{self, lookup::*};
                #check
                let returned = #call;
                #body
            }
        }
    }
}

/// ```text
/// let returned = __private::sent(…).await;
/// let reply = __private::Returned(returned).outcome()?;
/// reply.write(answer);
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
        #write;
    }
}

/// The session that is read off what `#[accept]` returns:
///
/// ```text
/// <Result<Player, Refusal> as __private::Admission<{ __private::Returned::<Result<Player, Refusal>>::FORM }>>::Session
/// ```
pub(crate) fn admission(krate: &Path, generics: &Generics, output: &ReturnType) -> TokenStream {
    let returned = match output {
        ReturnType::Default => return quote!(()),
        ReturnType::Type(_, ty) => ty.to_token_stream(),
    };
    let form = if mentions_parameter(generics, &returned) {
        quote!({ #krate::__private::EITHER })
    } else {
        quote!({
            use #krate::__private::lookup::*;
            #krate::__private::Returned::<#returned>::FORM
        })
    };
    quote_spanned!(at(returned.span())=> <#returned as #krate::__private::Admission<#form>>::Session)
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
pub(crate) fn at(span: Span) -> Span {
    Span::call_site().located_at(span)
}
