//! The call of a handler, with its arguments.

use proc_macro2::{Group, Ident, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{FnArg, Type, spanned::Spanned};

use crate::{
    attr::Kind,
    expand::{Expansion, at},
    model::{flatten, is_ident, plain},
    validate::Handler,
};

impl Expansion<'_> {
    /// `__private::sent(Self::chat(self, …)).await`, all of it on the method's name: there rustc reports a future
    /// that is not `Send`.
    pub(crate) fn call(&self, kind: Kind, handler: &Handler<'_>) -> TokenStream {
        let name = &handler.signature.ident;
        let count = arguments(handler).count();
        let arguments = arguments(handler)
            .enumerate()
            .map(|(index, ty)| self.argument(kind, handler, ty, index + 1 == count));
        quote_spanned!(at(name.span())=> __private::sent(Self::#name(self #(, #arguments)*)).await)
    }

    /// One argument of a call:
    ///
    /// ```text
    /// &Connection         →   __private::context::<&Connection, ()>(context)?
    /// Chat<'a>            →   __private::Argument::<(), Chat<'_>, _>::placed(context, __private::Last).argument()?
    /// &DisconnectReason   →   __private::Argument::<(), &DisconnectReason, _>::placed(context, …Hook(reason)).argument()?
    /// &Handshake          →   __private::handshake::<&Handshake>(handshake)
    /// ```
    fn argument(&self, kind: Kind, handler: &Handler<'_>, ty: &Type, last: bool) -> TokenStream {
        let session = &self.session;
        let elided = elided(handler, ty);
        let place = match kind {
            Kind::Accept => return quote!(__private::handshake::<#elided>(handshake)),
            Kind::Before => quote!(Hook(call)),
            Kind::Close => quote!(Hook(reason)),
            Kind::Route if last => quote!(Last),
            _ if matches!(plain(ty), Type::Reference(_)) => {
                return quote!(__private::context::<#elided, #session>(context)?);
            }
            Kind::Route => quote!(Ahead),
            Kind::Open | Kind::Heartbeat | Kind::Fallback => quote!(Hook(&())),
        };
        let argument = quote_spanned!(at(ty.span())=> argument);
        quote!(__private::Argument::<#session, #elided, _>::placed(context, __private::#place).#argument()?)
    }
}

/// `__private::no_message(context)?;` for a route that takes no argument at all, which then is not its last
/// argument's to check.
pub(crate) fn no_message(handler: &Handler<'_>) -> Option<TokenStream> {
    arguments(handler).next().is_none().then(|| quote!(__private::no_message(context)?;))
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
