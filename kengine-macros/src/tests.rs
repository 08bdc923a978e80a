//! Tests of all macros.

use std::{collections::BTreeSet, env, fs};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;

use crate::{compose, dispatcher, push};

/// A block with every kind of method, argument and option.
pub(crate) const EVERY_FORM: &str = r#"
impl<D: Db> Game<D> where D: Sized {
    #[accept]
    async fn enter(&self, handshake: &Handshake) -> Result<Player, Refused> {}
    #[open]
    async fn greet(&self, player: &Player) {}
    #[suspend]
    async fn away(&self, player: &Player) {}
    #[resume]
    async fn back(&self, player: &Player) {}
    #[close]
    async fn part(&self, reason: &DisconnectReason) {}
    #[before]
    async fn guard(&self, call: &Call) -> Result<(), Refused> {}
    #[route("chat", rate = "30/s", burst = 60, max_size = "512B", timeout = "50ms")]
    async fn chat(&self, connection: &Connection, player: Player, chat: Chat<'_>) -> Result<u8, Refused> {}
    #[route]
    #[cfg(debug_assertions)]
    async fn leave(&self) {}
    #[route]
    async fn last(&self) {}
    #[heartbeat]
    async fn alive(&self, connection: &Connection) -> Liveness {}
    #[fallback]
    #[cfg(debug_assertions)]
    async fn rest(&self, envelope: &Envelope<'_>) {}
}
"#;

/// Returns the identifiers in some code. Keywords are not among them, apart from `Self` and `self`.
fn identifiers(tokens: TokenStream) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for token in tokens {
        match token {
            TokenTree::Group(group) => found.append(&mut identifiers(group.stream())),
            // A keyword is not an expression by itself, nor is `_`.
            TokenTree::Ident(ident) if syn::parse2::<syn::Ident>(ident.to_token_stream()).is_ok() => {
                found.insert(ident.to_string());
            }
            _ => {}
        }
    }
    found
}

pub(crate) fn parse(code: &str) -> TokenStream {
    code.parse().expect("balanced brackets")
}

/// Returns an expansion as `cargo expand` would show it.
pub(crate) fn shown(tokens: TokenStream) -> String {
    let items = prettyplease::unparse(&syn::parse2(tokens).expect("the expansion consists of items"));
    items.replace("}\n#[automatically_derived]", "}\n\n#[automatically_derived]")
}

/// Checks that a file of the docs shows this expansion.
pub(crate) fn assert_shown(file: &str, expansion: &str) {
    let path = format!("{}/../kengine/docs/expansion/{file}", env!("CARGO_MANIFEST_DIR"));
    if env::var_os("EXPANSION").is_some_and(|value| value == "overwrite") {
        fs::write(&path, expansion).expect("writable docs");
    }
    let shown = fs::read_to_string(path).unwrap_or_default();
    assert!(
        shown == expansion,
        "`kengine/docs/expansion/{file}` does not show this expansion; if the change is intended, run\n\
         EXPANSION=overwrite cargo test -p kengine-macros\n\n{expansion}"
    );
}

/// The test `taken_names` of the language compiles blocks in modules where each of these names has another meaning.
/// This test keeps that list complete.
#[test]
fn each_name_in_an_expansion_is_in_the_list_of_taken_names() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/language/src/taken_names.rs");
    let source = fs::read_to_string(path).expect("the UI tests are in the same repository");
    let (_, list) = source.split_once("$callback! {").expect("the list begins with `$callback! {`");
    let (list, _) = list.split_once("\n        }").expect("the list ends with a brace");
    let taken = identifiers(parse(list));

    let block = parse(EVERY_FORM);
    let composition = parse("#[kengine(session = Player)] struct Both<A> { #[a] first: A, second: Second }");
    let plain = parse("struct Both { first: First, second: Second }");
    let pushed = parse(r#"#[push("at", latest(x, y))] struct At<T> { x: u8, y: u8, more: T }"#);
    let expansions = [
        (dispatcher::dispatcher(parse(r#"key = "type", payload = "data""#), &block), block.clone()),
        (dispatcher::dispatcher(parse(r"flat, session = Player"), &block), block),
        (compose::derive(&syn::parse2(composition.clone()).expect("a struct")), composition),
        (compose::derive(&syn::parse2(plain.clone()).expect("a struct")), plain),
        (push::derive(&syn::parse2(pushed.clone()).expect("a struct")), pushed),
    ];
    for (expansion, input) in expansions {
        let (expansion, input) = (identifiers(expansion), identifiers(input));
        let own: Vec<_> = expansion.difference(&input).filter(|name| !taken.contains(*name)).collect();
        assert!(own.is_empty(), "add these names to the list in `taken_names.rs`: {own:?}");
        assert!(expansion.contains("kengine"), "{expansion:?}");
    }
}
