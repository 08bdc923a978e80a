//! Checks the signature of one marked method.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote_spanned};
use syn::{FnArg, GenericParam, Receiver, ReceiverKind, Safety, Signature, Type, ext::IdentExt};

use super::attr::Mark;
use super::cfgs::{self, Cfgs, MAX_PREDICATES};
use super::item::{Content, Item};
use crate::errors::Errors;
use crate::hook::{Hook, Role};
use crate::tokens::{find_word, plain};

/// An `async fn` that takes `&self` and arguments of named types.
pub(crate) struct Handler<'a> {
    pub(crate) mark: &'a Mark,
    pub(crate) cfgs: Cfgs<'a>,
    pub(crate) signature: &'a Signature,
    /// The types of the arguments after `&self`.
    arguments: Vec<(Cfgs<'a>, &'a Type)>,
}

impl<'a> Handler<'a> {
    /// Reads a marked item. A method with faults is returned too, so that clashes with other methods are reported.
    pub(crate) fn validate(item: &'a Item, errors: &mut Errors) -> Option<Self> {
        let [mark, others @ ..] = item.marks.as_slice() else { return None };
        let signature = match &item.content {
            Content::Function { signature, .. } => signature,
            Content::Incomplete => return None,
            Content::Other(_) => {
                errors.at(&mark.original, format_args!("`#[{}]` belongs on an `async fn`", mark.role));
                return None;
            }
        };
        let method = signature.ident.unraw();
        for second in others {
            let message = if second.role == mark.role {
                format!("`{method}` already has a `#[{}]`", mark.role)
            } else {
                format!("`{method}` cannot be both {} and {}", mark.role.noun(), second.role.noun())
            };
            errors.at(&second.original, message);
        }
        let arguments = signature.inputs.iter().filter_map(|input| match input {
            FnArg::Typed(argument) => Some((Cfgs::of(&argument.attrs, "argument", errors), &*argument.ty)),
            FnArg::Receiver(_) => None,
        });
        let arguments = arguments.collect();
        let cfgs = Cfgs::of(&item.attrs, "method", errors);
        let handler = Self { mark, cfgs, signature, arguments };
        if cfgs::combinations(&handler.arguments).is_none() {
            let message = format!("at most {MAX_PREDICATES} different `cfg` predicates are supported on arguments");
            errors.at(&signature.inputs, message);
        }
        handler.check_qualifiers(errors);
        handler.check_types(errors);
        Some(handler)
    }

    /// Returns the lists of arguments with which the method can be called: one, unless arguments are under `cfg`s. The
    /// attribute is the condition under which a list applies.
    pub(crate) fn calls(&self) -> Vec<(Option<TokenStream>, Vec<&Type>)> {
        let calls = cfgs::combinations(&self.arguments).unwrap_or_default();
        calls.into_iter().map(|(cfg, types)| (cfg, types.into_iter().map(|ty| &**ty).collect())).collect()
    }

    /// Checks that generated code can call the method, apart from the types.
    fn check_qualifiers(&self, errors: &mut Errors) {
        let (role, signature) = (self.mark.role, self.signature);
        let subject = format!("{role} `{}`", signature.ident.unraw());
        let mut refuse = |tokens: &dyn ToTokens, what: &str| errors.at(tokens, format_args!("{subject} {what}"));

        if signature.asyncness.is_none() {
            refuse(&signature.fn_token, "must be an `async fn`");
        }
        if let Safety::Unsafe(token) = &signature.safety {
            refuse(token, "must not be `unsafe`");
        }
        if let Some(abi) = &signature.abi {
            refuse(abi, "must not be `extern`");
        }
        // Lifetimes are allowed: the call elides them.
        if !signature.generics.params.iter().all(|parameter| matches!(parameter, GenericParam::Lifetime(_))) {
            let reason = if role == Role::Route { ": the message type must be known" } else { "" };
            refuse(&signature.generics, &format!("cannot be generic{reason}"));
        }
        match signature.receiver().map(borrowed) {
            // Reported at the parentheses, where `&self` is missing.
            None => refuse(&quote_spanned!(signature.paren_token.span.join()=> ()), "must take `&self`"),
            Some(Ok(())) => {}
            Some(Err((tokens, what))) => refuse(&tokens, what),
        }
    }

    /// Checks that no type is opaque, because generated code names them.
    fn check_types(&self, errors: &mut Errors) {
        let mut refuse = |ty: &dyn ToTokens, what: &str| {
            if let Some(word) = find_word(ty, "impl") {
                errors.at(word, format_args!("`impl Trait` is not {what}; name the type"));
            }
        };
        let what = match self.mark.role {
            Role::Route => "a message type",
            Role::Hook(Hook::Accept) => {
                refuse(&self.signature.output, "a session");
                "an argument of `#[accept]`"
            }
            Role::Hook(_) => "a context argument",
        };
        self.arguments.iter().for_each(|(_, ty)| refuse(ty, what));
    }
}

/// Checks that a receiver is `&self`. The error is what is wrong with it, and where.
fn borrowed(receiver: &Receiver) -> Result<(), (TokenStream, &'static str)> {
    const MUTABLE: &str = "takes `&mut self`, but connections share the dispatcher; take `&self` and use a lock";
    let mutable = match &receiver.kind {
        ReceiverKind::Reference(_, _, mutable) => mutable,
        ReceiverKind::Typed(_, ty) => match plain(ty) {
            Type::Reference(reference) => &reference.mutability,
            _ => return Err((ty.to_token_stream(), "must take `&self`")),
        },
        ReceiverKind::Value => {
            return Err((receiver.self_token.to_token_stream(), "takes `self` by value; take `&self`"));
        }
        _ => return Err((receiver.to_token_stream(), "must take `&self`")),
    };
    mutable.map_or(Ok(()), |token| Err((token.to_token_stream(), MUTABLE)))
}
