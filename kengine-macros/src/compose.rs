//! `#[derive(Dispatcher)]`: the dispatchers in a struct's fields as one.

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{
    Attribute, Data, DeriveInput, Member, Path, Type, ext::IdentExt, parse::ParseStream, parse_quote,
    spanned::Spanned,
};

use crate::{attr::Kind, errors::Errors, expand::Method, model::plain, options};

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
    let found = Options::parse(&input.attrs, &mut errors);
    options::refuse_inside("kengine", &input.data, &mut errors);
    let parts = parts(&input, &mut errors);
    for lifetime in input.generics.lifetimes() {
        let (ident, lifetime) = (&input.ident, &lifetime.lifetime);
        let message = format_args!(
            "a dispatcher is shared by every connection, so `{ident}` cannot borrow; remove `{lifetime}`"
        );
        errors.at(lifetime, message);
    }
    if errors.is_empty() {
        Composition { krate: &found.krate, session: found.session.as_ref(), input: &input, parts: &parts }
            .expand()
    } else {
        inert(&found, &input, errors)
    }
}

/// The errors, and an implementation that takes no message, so that nothing else turns red.
fn inert(options: &Options, input: &DeriveInput, errors: Errors) -> TokenStream {
    let (krate, ident, errors) = (&options.krate, &input.ident, errors.into_tokens());
    let session = options.session.as_ref().map_or_else(|| quote!(()), Type::to_token_stream);
    let mut bounded = input.generics.clone();
    bounded.make_where_clause().predicates.push(parse_quote!(Self: 'static));
    let (generics, arguments, clause) = bounded.split_for_impl();
    quote! {
        #errors
        #[automatically_derived]
        impl #generics #krate::Dispatcher for #ident #arguments #clause {
            type Session = #session;
            const SYNTAX: #krate::wire::Syntax = #krate::wire::Syntax::UNKNOWN;
        }
    }
}

const EXPECTED: &str = "expected `session` or `crate`";

/// `#[kengine(session = Player, crate = path)]`
struct Options {
    /// That of all parts, where it is not to be read off the first.
    session: Option<Type>,
    krate: Path,
}

impl Options {
    fn parse(attributes: &[Attribute], errors: &mut Errors) -> Self {
        let mut found = Self { session: None, krate: parse_quote!(::kengine) };
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("kengine")) {
            let read = |input: ParseStream<'_>| {
                options::list(input, errors, |input, _| found.option(input).map(Some))
            };
            if let Err(error) = attribute.parse_args_with(read) {
                errors.push(error);
            }
        }
        found
    }

    fn option(&mut self, input: ParseStream<'_>) -> syn::Result<Ident> {
        let name = input.call(Ident::parse_any).map_err(|error| syn::Error::new(error.span(), EXPECTED))?;
        match name.to_string().as_str() {
            "session" => self.session = Some(options::session(&name, input)?),
            "crate" => self.krate = options::krate(&name, input)?,
            unknown => {
                return Err(syn::Error::new(name.span(), format!("unknown option `{unknown}`; {EXPECTED}")));
            }
        }
        Ok(name)
    }
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
    session: Option<&'a Type>,
    input: &'a DeriveInput,
    parts: &'a [Part<'a>],
}

impl Composition<'_> {
    fn expand(&self) -> TokenStream {
        let Self { krate, input, parts, .. } = self;
        let ident = &input.ident;
        let session = self.session();
        let all = |name| parts.iter().map(|part| of(part, name)).collect::<Vec<_>>();
        let (syntax, routes, hooks) = (&all("SYNTAX")[0], all("ROUTES"), all("HOOKS"));
        let fit = parts.iter().skip(usize::from(self.session.is_none())).map(|part| {
            let (at, ty) = (at(part.ty.span()), part.ty);
            quote_spanned!(at=> __private::fits::<#ty, Self::Session>();)
        });

        let checks: Vec<_> = (1..parts.len()).flat_map(|index| self.checks(index)).collect();
        // What no parameter decides is told by `cargo check`, the rest when the program is built.
        let parameters = !input.generics.params.is_empty();
        let (now, later) = if parameters { (&[][..], &checks[..]) } else { (&checks[..], &[][..]) };
        let now = now.iter().map(|(at, check)| {
            let at = *at;
            quote_spanned! {at=>
                const _: () = {
                    use #krate::__private::{self, lookup::*};
                    #check
                };
            }
        });
        let later = later.iter().map(|(_, check)| check);

        let dispatch = parts.iter().enumerate().map(|(index, part)| {
            let (dispatcher, context) = (dispatcher(part), self.context(index));
            quote! {
                if #krate::Dispatcher::dispatch(#dispatcher, #context, answer).await? {
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
                const SYNTAX: #krate::wire::Syntax = {
                    use #krate::__private::{self, lookup::*};
                    #syntax
                };
                const ROUTES: &'static [#krate::wire::Route] = {
                    use #krate::__private::{self, lookup::*};
                    #(#fit)*
                    const { #(#later)* &__private::Table::new(&[#(#routes),*]) }.routes()
                };
                const HOOKS: #krate::wire::Hooks = {
                    use #krate::__private::{self, lookup::*};
                    __private::hooks(&[#(#hooks),*])
                };

                async fn dispatch<'call>(
                    &'call self,
                    context: #krate::Context<'call, Self::Session>,
                    answer: &'call mut #krate::wire::Answer,
                ) -> #krate::Result<bool> {
                    use #krate::__private::{self, lookup::*};
                    #(#dispatch)*
                    __private::Ok(false)
                }
                #(#passed)*
            }
        }
    }

    /// A parameter that is a field's type is a dispatcher with the one session.
    fn generics(&self) -> syn::Generics {
        let Self { krate, input, parts, session } = self;
        let mut bounded = input.generics.clone();
        if input.generics.params.is_empty() && session.is_none() {
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
            let session = (index > 0 || session.is_some()).then(|| {
                let session = self.session();
                quote!(<Session = #session>)
            });
            let clause = bounded.make_where_clause();
            clause.predicates.push(parse_quote!(#parameter: #krate::Dispatcher #session));
        }
        bounded
    }

    /// The session as it was given, or that of the first field: all of it on the type, where rustc reports one that
    /// is no dispatcher.
    fn session(&self) -> TokenStream {
        if let Some(session) = self.session {
            return session.to_token_stream();
        }
        let first = self.parts[0].ty;
        let at = at(first.span());
        let krate = respanned(self.krate.to_token_stream(), at);
        quote_spanned!(at=> <#first as #krate::Dispatcher>::Session)
    }

    /// The context of one field.
    fn context(&self, index: usize) -> TokenStream {
        let before = self.parts[..index].iter().map(|part| of(part, "ROUTES"));
        quote!(__private::shifted(context, 0 #(+ #before.len())*))
    }

    /// What must hold between a field and those before it.
    fn checks(&self, index: usize) -> Vec<(Span, TokenStream)> {
        let (part, before) = (&self.parts[index], &self.parts[..index]);
        let at = part.at;
        let (routes, others) = (of(part, "ROUTES"), before.iter().map(|other| of(other, "ROUTES")));
        let (syntax, first, expected) = (of(part, "SYNTAX"), &before[0].name, of(&before[0], "SYNTAX"));
        let mut checks = vec![
            quote_spanned!(at=> __private::check_routes(#routes, &[#(#others),*]);),
            quote_spanned!(at=> __private::check_syntax(#syntax, #first, #expected);),
        ];
        checks.extend(HOOKS.map(|kind| {
            let (name, hook) = (kind.name(), Ident::new(kind.name(), at));
            let has = of(part, "HOOKS");
            let others = before.iter().map(|other| {
                let (name, hooks) = (&other.name, of(other, "HOOKS"));
                quote_spanned!(at=> (#name, #hooks.#hook))
            });
            quote_spanned!(at=> __private::check_hook(#name, #has.#hook, &[#(#others),*]);)
        }));
        checks.into_iter().map(|check| (at, check)).collect()
    }

    /// ```text
    /// async fn open<'call>(&'call self, context: Context<'call, Self::Session>) -> Result<()> {
    ///     if __private::Part::<Combat, ()>::HOOKS.open {
    ///         return Dispatcher::open(__private::part::<_, Self::Session>(&self.combat).dispatcher(), …).await;
    ///     }
    ///     …
    ///     Dispatcher::open(__private::part::<_, Self::Session>(&self.chat).dispatcher(), …).await
    /// }
    /// ```
    ///
    /// The first comes last: where nobody has the hook, its default is as good as any.
    fn hook(&self, kind: Kind) -> TokenStream {
        let krate = self.krate;
        let name = Ident::new(kind.name(), Span::call_site());
        let Method { arguments, passed, returns } = Method::of(kind, krate, &quote!(Self::Session));
        let call = |index: usize, part| {
            let dispatcher = dispatcher(part);
            let told = if kind == Kind::Accept { quote!(handshake) } else { self.context(index) };
            quote!(#krate::Dispatcher::#name(#dispatcher, #told #passed).await)
        };
        let others = self.parts.iter().enumerate().skip(1).map(|(index, part)| {
            let (hooks, call) = (of(part, "HOOKS"), call(index, part));
            quote! {
                if #hooks.#name {
                    return #call;
                }
            }
        });
        let first = call(0, &self.parts[0]);
        quote! {
            async fn #name<'call>(&'call self, #arguments) -> #returns {
                use #krate::__private::{self, lookup::*};
                #(#others)*
                #first
            }
        }
    }
}

/// `__private::part::<_, Self::Session>(&self.chat).dispatcher()`
fn dispatcher(part: &Part<'_>) -> TokenStream {
    let (at, member) = (at(part.ty.span()), &part.member);
    quote_spanned!(at=> __private::part::<_, Self::Session>(&self.#member).dispatcher())
}

/// `__private::Part::<Chat, ()>::NAME`
fn of(part: &Part<'_>, name: &str) -> TokenStream {
    let (ty, name) = (part.ty, Ident::new(name, Span::call_site()));
    quote!(__private::Part::<#ty, ()>::#name)
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
