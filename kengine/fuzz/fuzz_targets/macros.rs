//! The macros never panic. They generate Rust items, or an error at a token of the user's.
//!
//! The input is a program, such as those in `tests/language/ui`; it may be incomplete. Each `#[dispatcher]` and each of
//! our derives in it is expanded.

#![no_main]

#[path = "../../../kengine-macros/src/compose/mod.rs"]
mod compose;
#[path = "../../../kengine-macros/src/dispatcher/mod.rs"]
mod dispatcher;
#[path = "../../../kengine-macros/src/errors.rs"]
mod errors;
#[path = "../../../kengine-macros/src/hook.rs"]
#[allow(unused_imports, reason = "the macro is used where the attributes are defined")]
mod hook;
#[path = "../../../kengine-macros/src/inert.rs"]
mod inert;
#[path = "../../../kengine-macros/src/method.rs"]
mod method;
#[path = "../../../kengine-macros/src/options.rs"]
mod options;
#[path = "../../../kengine-macros/src/push/mod.rs"]
mod push;
#[path = "../../../kengine-macros/src/spans.rs"]
mod spans;
#[path = "../../../kengine-macros/src/tokens.rs"]
mod tokens;

use kengine_fuzz::words;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Data, DeriveInput, ImplItem, Item, ItemImpl};

/// The deepest nesting of brackets. rustc parses an item before it calls a macro, and has limits of its own.
const MAX_DEPTH: usize = 32;

/// What is inserted into programs.
const WORDS: &[&str] = &[
    "#",
    "[",
    "]",
    "(",
    ")",
    "{",
    "}",
    "<",
    ">",
    ",",
    ";",
    ":",
    "::",
    "=",
    "&",
    "*",
    "!",
    "?",
    "->",
    "'a",
    "'_",
    "'static",
    "_",
    "..",
    "|",
    "route",
    "accept",
    "open",
    "close",
    "before",
    "heartbeat",
    "fallback",
    "dispatcher",
    "kengine",
    "push",
    "derive",
    "Push",
    "Dispatcher",
    "cfg",
    "cfg_attr",
    "not",
    "all",
    "unix",
    "test",
    "deprecated",
    "allow",
    "doc",
    "impl",
    "dyn",
    "for",
    "where",
    "async",
    "fn",
    "const",
    "unsafe",
    "extern",
    "\"C\"",
    "default",
    "pub",
    "crate",
    "self",
    "Self",
    "&self",
    "mut",
    "ref",
    "r#move",
    "struct",
    "enum",
    "union",
    "type",
    "mod",
    "use",
    "let",
    "return",
    "Result",
    "Option",
    "Context",
    "Connection",
    "Hub",
    "Envelope",
    "Handshake",
    "Call",
    "Player",
    "Error",
    "Refusal",
    "T",
    "String",
    "u8",
    "key",
    "payload",
    "flat",
    "prefix",
    "session",
    "rate",
    "burst",
    "max_size",
    "timeout",
    "latest",
    "reliable",
    "\"\"",
    "\"chat\"",
    "\"30/s\"",
    "\"512B\"",
    "\"1MiB\"",
    "\"50ms\"",
    "\"a\"suffix",
    "b\"b\"",
    "c\"c\"",
    "'c'",
    "0",
    "1",
    "60u8",
    "1.5",
    "-1",
    "18446744073709551616",
    "#[route]",
    "#[accept]",
    "#[push(latest(0))]",
    "#[kengine(session = Player)]",
    "async fn f(&self) {}",
    "$x",
    "macro!{}",
    "/** doc */",
    "//! doc\n",
    "impl<const N: usize>",
    "struct S;",
    "struct S(u8);",
];

fuzz_target!(|program: &str| {
    if let Ok(tokens) = program.parse::<TokenStream>()
        && depth(&tokens) <= MAX_DEPTH
    {
        if !expand_all(&tokens) {
            // It may be an item without its attribute.
            expand_attribute(TokenStream::new(), &tokens);
            expand_derives(&tokens);
            dispatcher::misplaced("route", &tokens);
        }
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    // Half of the mutations are those of libFuzzer, which do not know tokens.
    match str::from_utf8(&data[..size]).ok().filter(|_| seed % 2 == 0) {
        Some(program) => {
            let mutated = words::mutate(program, WORDS, seed / 2);
            let length = mutated.len().min(max_size);
            data[..length].copy_from_slice(&mutated.as_bytes()[..length]);
            length
        }
        None => fuzzer_mutate(data, size, max_size),
    }
});

fn depth(tokens: &TokenStream) -> usize {
    let groups = tokens.clone().into_iter().filter_map(|token| match token {
        TokenTree::Group(group) => Some(1 + depth(&group.stream())),
        _ => None,
    });
    groups.max().unwrap_or(0)
}

/// Expands each item that has one of our attributes. Returns whether there is one.
fn expand_all(tokens: &TokenStream) -> bool {
    let tokens: Vec<_> = tokens.clone().into_iter().collect();
    let mut found = false;
    for (at, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else { continue };
        let is_attribute = group.delimiter() == Delimiter::Bracket
            && at > 0
            && matches!(&tokens[at - 1], TokenTree::Punct(hash) if hash.as_char() == '#');
        if is_attribute {
            let attribute: Vec<_> = group.stream().into_iter().collect();
            let item = item(&tokens[at + 1..]);
            match &attribute[..] {
                [.., TokenTree::Ident(name)] if name == "dispatcher" => {
                    expand_attribute(TokenStream::new(), &item);
                    found = true;
                }
                [.., TokenTree::Ident(name), TokenTree::Group(args)] if name == "dispatcher" => {
                    expand_attribute(args.stream(), &item);
                    found = true;
                }
                [TokenTree::Ident(name), TokenTree::Group(_)] if name == "derive" => {
                    expand_derives(&item);
                    found = true;
                }
                _ => {}
            }
        } else {
            found |= expand_all(&group.stream());
        }
    }
    found
}

/// Returns the tokens up to the end of the first item.
fn item(tokens: &[TokenTree]) -> TokenStream {
    let is_last = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(punct) => punct.as_char() == ';',
        _ => false,
    };
    let end = tokens.iter().position(is_last).map_or(tokens.len(), |last| last + 1);
    tokens[..end].iter().cloned().collect()
}

fn expand_attribute(args: TokenStream, item: &TokenStream) {
    let shown = || format!("#[dispatcher({args})] {item}");
    let expansion = dispatcher::dispatcher(args.clone(), item);
    // rustc reports what is not an item itself, before it calls the macro.
    let is_item = syn::parse2::<Item>(item.clone()).is_ok();
    if is_item && errors_in(item).is_empty() && errors_in(&args).is_empty() {
        for error in errors_in(&expansion) {
            assert!(is_of_the_user(error.span), "{} is not at a token of {}", error.text, shown());
        }
        let items = check_items(&expansion, &shown());
        if let Ok(block) = syn::parse2::<ItemImpl>(item.clone())
            && block.trait_.is_none()
        {
            let Some(Item::Impl(ours)) = items.first() else { panic!("no block in the expansion of {}", shown()) };
            assert_eq!(methods(ours), methods(&block), "the methods in the expansion of {}", shown());
        }
    }
}

/// Returns the items of a block without their attributes, as text.
fn methods(block: &ItemImpl) -> Vec<String> {
    let without_attributes = |item: &ImplItem| {
        let mut item = item.clone();
        match &mut item {
            ImplItem::Const(item) => item.attrs.clear(),
            ImplItem::Fn(item) => item.attrs.clear(),
            ImplItem::Macro(item) => item.attrs.clear(),
            ImplItem::Type(item) => item.attrs.clear(),
            // This keeps its attributes.
            _ => return String::new(),
        }
        item.to_token_stream().to_string()
    };
    block.items.iter().map(without_attributes).collect()
}

fn expand_derives(item: &TokenStream) {
    let Ok(input) = syn::parse2::<DeriveInput>(item.clone()) else { return };
    // Unlike syn, rustc knows no field with the name `_`.
    if let Data::Struct(data) = &input.data
        && data.fields.iter().any(|field| field.ident.as_ref().is_some_and(|ident| ident == "_"))
    {
        return;
    }
    for expansion in [compose::derive(&input), push::derive(&input)] {
        if errors_in(item).is_empty() {
            for error in errors_in(&expansion) {
                assert!(is_of_the_user(error.span), "{} is not at a token of {item}", error.text);
            }
            check_items(&expansion, &item.to_string());
        }
    }
}

fn check_items(expansion: &TokenStream, shown: &str) -> Vec<Item> {
    match syn::parse2::<syn::File>(expansion.clone()) {
        Ok(file) => file.items,
        Err(error) => panic!("{error} in the expansion of {shown}:\n{expansion}"),
    }
}

/// Returns whether a span is that of a token in the program, and not that of the macro's call. While fuzzing, only the
/// debug format of a span shows that.
fn is_of_the_user(span: Span) -> bool {
    format!("{span:?}") != format!("{:?}", Span::call_site())
}

/// A `compile_error!`.
struct ReportedError {
    span: Span,
    text: String,
}

fn errors_in(tokens: &TokenStream) -> Vec<ReportedError> {
    let tokens: Vec<_> = tokens.clone().into_iter().collect();
    let mut errors = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match (token, &tokens[at + 1..]) {
            (TokenTree::Ident(name), [TokenTree::Punct(_), TokenTree::Group(text), ..]) if name == "compile_error" => {
                errors.push(ReportedError { span: name.span(), text: text.to_string() });
            }
            (TokenTree::Group(group), _) => errors.extend(errors_in(&group.stream())),
            _ => {}
        }
    }
    errors
}
