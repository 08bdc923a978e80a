//! `#[derive(Dispatcher)]`: the dispatchers in a struct's fields as one.

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{
    Attribute, Data, DeriveInput, Member, Path, Type, ext::IdentExt, parse::ParseStream, parse_quote,
    spanned::Spanned,
};

use crate::{args::value, attr::Kind, errors::Errors, model::plain};

/// The hooks that an endpoint can have but one of.
const HOOKS: [Kind; 5] = [Kind::Accept, Kind::Open, Kind::Close, Kind::Heartbeat, Kind::Fallback];

/// One of the dispatchers.
struct Part<'a> {
    member: Member,
    ty: &'a Type,
    /// How errors call it.
    name: String,
    /// Where they stand.
    at: Span,
}

/// The implementation for a struct.
pub(crate) fn derive(item: TokenStream) -> TokenStream {
    let input: DeriveInput = match syn::parse2(item) {
        Ok(input) => input,
        Err(error) => return error.into_compile_error(),
    };
    let mut errors = Errors::default();
    let krate = krate(&input.attrs, &mut errors);
    let parts = parts(&input, &mut errors);
    for lifetime in input.generics.lifetimes() {
        let (ident, lifetime) = (&input.ident, &lifetime.lifetime);
        let message = format_args!(
            "a dispatcher is shared by every connection, so `{ident}` cannot borrow; remove `{lifetime}`"
        );
        errors.at(lifetime, message);
    }
    if errors.is_empty() {
        Composition { krate: &krate, input: &input, parts: &parts }.expand()
    } else {
        inert(&krate, &input, errors)
    }
}

/// The errors, and an implementation that takes no message, so that nothing else turns red.
fn inert(krate: &Path, input: &DeriveInput, errors: Errors) -> TokenStream {
    let (ident, errors) = (&input.ident, errors.into_tokens());
    let mut bounded = input.generics.clone();
    bounded.make_where_clause().predicates.push(parse_quote!(Self: 'static));
    let (generics, arguments, clause) = bounded.split_for_impl();
    quote! {
        #errors
        #[automatically_derived]
        impl #generics #krate::Dispatcher for #ident #arguments #clause {
            type Session = ();
        }
    }
}

/// `#[kengine(crate = path)]`
fn krate(attributes: &[Attribute], errors: &mut Errors) -> Path {
    let mut krate = parse_quote!(::kengine);
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("kengine")) {
        let option = |input: ParseStream<'_>| {
            let name = input.call(Ident::parse_any)?;
            if name != "crate" {
                let message = format!("unknown option `{name}`; expected `crate`");
                return Err(syn::Error::new(name.span(), message));
            }
            value(input, Path::parse_mod_style, "`crate` takes a path: `crate = net::engine`")
        };
        match attribute.parse_args_with(option) {
            Ok(path) => krate = path,
            Err(error) => errors.push(error),
        }
    }
    krate
}

fn parts<'a>(input: &'a DeriveInput, errors: &mut Errors) -> Vec<Part<'a>> {
    const STRUCT: &str = "dispatchers are composed by a struct, which has them as its fields";
    let fields = match &input.data {
        Data::Struct(data) => &data.fields,
        Data::Enum(data) => {
            errors.at(data.enum_token, STRUCT);
            return Vec::new();
        }
        Data::Union(data) => {
            errors.at(data.union_token, STRUCT);
            return Vec::new();
        }
    };
    if fields.is_empty() {
        let ident = &input.ident;
        errors.at(ident, format_args!("`{ident}` has no fields; give it one for each dispatcher"));
    }
    fields
        .members()
        .zip(fields)
        .map(|(member, field)| Part {
            name: member.to_token_stream().to_string(),
            at: at(field.ident.as_ref().map_or_else(|| field.ty.span(), Ident::span)),
            ty: &field.ty,
            member,
        })
        .collect()
}

struct Composition<'a> {
    krate: &'a Path,
    input: &'a DeriveInput,
    parts: &'a [Part<'a>],
}

impl Composition<'_> {
    fn expand(&self) -> TokenStream {
        let Self { krate, input, parts } = self;
        let ident = &input.ident;
        let session = self.of(&parts[0], "Session");
        let syntax = self.of(&parts[0], "SYNTAX");
        let all = |name| parts.iter().map(move |part| self.of(part, name));
        let (routes, hooks) = (all("ROUTES"), all("HOOKS"));

        let checks: Vec<_> = (1..parts.len()).flat_map(|index| self.checks(index)).collect();
        // What no parameter decides is told by `cargo check`, the rest when the program is built.
        let parameters = !input.generics.params.is_empty();
        let (now, later) = if parameters { (&[][..], &checks[..]) } else { (&checks[..], &[][..]) };
        let now = now.iter().map(|(at, check)| quote_spanned!(*at=> const _: () = #check;));
        let later = later.iter().map(|(_, check)| check);

        let dispatch = parts.iter().enumerate().map(|(index, part)| {
            let (call, field, context) = (self.of(part, "dispatch"), field(part), self.context(index));
            quote! {
                if #call(#field, #context, answer).await? {
                    return __private::Ok(true);
                }
            }
        });
        let passed = HOOKS.map(|kind| self.hook(kind));
        let bounded = self.generics();
        let (generics, _, clause) = bounded.split_for_impl();
        let (_, arguments, _) = input.generics.split_for_impl();
        quote! {
            #(#now)*

            #[automatically_derived]
            #[allow(trivial_bounds)]
            impl #generics #krate::Dispatcher for #ident #arguments #clause {
                type Session = #session;
                const SYNTAX: #krate::Syntax = #syntax;
                const ROUTES: &'static [#krate::Route] = const {
                    #(#later;)*
                    &#krate::__private::Table::new(&[#(#routes),*])
                }.routes();
                const HOOKS: #krate::Hooks = #krate::__private::hooks(&[#(#hooks),*]);

                async fn dispatch<'call>(
                    &'call self,
                    context: #krate::Context<'call, Self::Session>,
                    answer: &'call mut #krate::Answer,
                ) -> #krate::Result<bool> {
                    use #krate::__private;
                    #(#dispatch)*
                    __private::Ok(false)
                }
                #(#passed)*
            }
        }
    }

    /// A parameter that is a field's type is a dispatcher with the one session.
    fn generics(&self) -> syn::Generics {
        let Self { krate, input, parts } = self;
        let mut bounded = input.generics.clone();
        if input.generics.params.is_empty() {
            // The session is read off the first field. If that is no dispatcher, the bound says so once, where without
            // it each method of the implementation would.
            let (first, at) = (self.parts[0].ty, at(self.parts[0].ty.span()));
            let krate = respanned(krate.to_token_stream(), at);
            let bound = quote_spanned!(at=> #first: #krate::Dispatcher);
            bounded.make_where_clause().predicates.push(parse_quote!(#bound));
            return bounded;
        }
        let mut seen = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            let ty = plain(part.ty);
            let parameter = input
                .generics
                .type_params()
                .find(|parameter| matches!(ty, Type::Path(path) if path.path.is_ident(&parameter.ident)));
            let Some(parameter) = parameter.map(|parameter| &parameter.ident) else { continue };
            if seen.contains(&parameter) {
                continue;
            }
            seen.push(parameter);
            let session = (index > 0).then(|| {
                let session = self.of(&parts[0], "Session");
                quote!(<Session = #session>)
            });
            let clause = bounded.make_where_clause();
            clause.predicates.push(parse_quote!(#parameter: #krate::Dispatcher #session));
        }
        bounded
    }

    /// `<Chat as ::kengine::Dispatcher>::NAME`, all of it on the type: there rustc reports one that is none.
    fn of(&self, part: &Part<'_>, name: &str) -> TokenStream {
        let at = at(part.ty.span());
        let (ty, krate) = (part.ty, respanned(self.krate.to_token_stream(), at));
        let name = Ident::new(name, at);
        quote_spanned!(at=> <#ty as #krate::Dispatcher>::#name)
    }

    /// The context of one field.
    fn context(&self, index: usize) -> TokenStream {
        let part = &self.parts[index];
        let at = at(part.ty.span());
        let session = self.of(part, "Session");
        let before = self.parts[..index].iter().map(|part| self.of(part, "ROUTES"));
        quote_spanned!(at=> __private::joined::<#session, Self::Session>().context(context, 0 #(+ #before.len())*))
    }

    /// What must hold between a field and those before it.
    fn checks(&self, index: usize) -> Vec<(Span, TokenStream)> {
        let (part, before) = (&self.parts[index], &self.parts[..index]);
        let at = part.at;
        let krate = respanned(self.krate.to_token_stream(), at);
        let (routes, others) = (self.of(part, "ROUTES"), before.iter().map(|other| self.of(other, "ROUTES")));
        let (syntax, first, expected) =
            (self.of(part, "SYNTAX"), &before[0].name, self.of(&before[0], "SYNTAX"));
        let mut checks = vec![
            quote_spanned!(at=> #krate::__private::check_routes(#routes, &[#(#others),*])),
            quote_spanned!(at=> #krate::__private::check_syntax(#syntax, #first, #expected)),
        ];
        checks.extend(HOOKS.map(|kind| {
            let (name, hook) = (kind.name(), Ident::new(kind.name(), at));
            let has = self.of(part, "HOOKS");
            let others = before.iter().map(|other| {
                let (name, hooks) = (&other.name, self.of(other, "HOOKS"));
                quote_spanned!(at=> (#name, #hooks.#hook))
            });
            quote_spanned!(at=> #krate::__private::check_hook(#name, #has.#hook, &[#(#others),*]))
        }));
        checks.into_iter().map(|check| (at, check)).collect()
    }

    /// ```text
    /// async fn open<'call>(&'call self, context: Context<'call, Self::Session>) -> Result<()> {
    ///     if <Chat as Dispatcher>::HOOKS.open {
    ///         return <Chat as Dispatcher>::open(&self.chat, …).await;
    ///     }
    ///     …
    ///     __private::Ok(())
    /// }
    /// ```
    fn hook(&self, kind: Kind) -> TokenStream {
        let krate = self.krate;
        let name = Ident::new(kind.name(), Span::call_site());
        let context = quote!(context: #krate::Context<'call, Self::Session>);
        let (arguments, more, returns, otherwise) = match kind {
            Kind::Accept => (
                quote!(handshake: &'call #krate::Handshake),
                None,
                quote!(#krate::Result<Self::Session, #krate::Refusal>),
                quote!(__private::anonymous()),
            ),
            Kind::Close => (
                quote!(#context, reason: &'call #krate::DisconnectReason),
                Some(quote!(, reason)),
                quote!(#krate::Result<()>),
                quote!(__private::Ok(())),
            ),
            Kind::Heartbeat => (
                context,
                None,
                quote!(#krate::Result<#krate::Liveness>),
                quote!(__private::Ok(#krate::Liveness::Alive)),
            ),
            Kind::Fallback => (
                quote!(#context, answer: &'call mut #krate::Answer),
                Some(quote!(, answer)),
                quote!(#krate::Result<()>),
                quote!(__private::unknown(context)),
            ),
            Kind::Open | Kind::Before | Kind::Route => {
                (context, None, quote!(#krate::Result<()>), quote!(__private::Ok(())))
            }
        };
        let passed = self.parts.iter().enumerate().map(|(index, part)| {
            let (hooks, call, field) = (self.of(part, "HOOKS"), self.of(part, kind.name()), field(part));
            let passed = if kind == Kind::Accept {
                let session = self.of(part, "Session");
                let at = at(part.ty.span());
                let joined = quote_spanned!(at=> __private::joined::<#session, Self::Session>());
                quote!(#joined.accepted(#call(#field, handshake).await))
            } else {
                let context = self.context(index);
                quote!(#call(#field, #context #more).await)
            };
            quote! {
                if #hooks.#name {
                    return #passed;
                }
            }
        });
        // Where all have it, as after an error, what is behind the last is never reached; rustc does not mind.
        quote! {
            async fn #name<'call>(&'call self, #arguments) -> #returns {
                use #krate::__private;
                #(#passed)*
                #otherwise
            }
        }
    }
}

/// `&self.chat`
fn field(part: &Part<'_>) -> TokenStream {
    let (at, member) = (at(part.ty.span()), &part.member);
    quote_spanned!(at=> &self.#member)
}

/// The same tokens, reported there.
fn respanned(tokens: TokenStream, span: Span) -> TokenStream {
    let token = |token| match token {
        TokenTree::Group(group) => {
            let mut group = Group::new(group.delimiter(), respanned(group.stream(), span));
            group.set_span(span);
            TokenTree::Group(group)
        }
        mut token => {
            token.set_span(token.span().located_at(span));
            token
        }
    };
    tokens.into_iter().map(token).collect()
}

/// Generated code that reports its errors there.
fn at(span: Span) -> Span {
    Span::call_site().located_at(span)
}
