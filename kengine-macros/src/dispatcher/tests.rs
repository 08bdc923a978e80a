//! What the expansion looks like. What it does, and what is said of mistakes, is tested in the workspace's `tests`.

use std::{env, fs};

use proc_macro2::TokenStream;

use super::dispatcher;

/// The expansion as `cargo expand` would show it.
fn expand(args: &str, block: &str) -> String {
    let tokens = dispatcher(parse(args), &parse(block));
    let items = prettyplease::unparse(&syn::parse2(tokens).expect("the expansion is made of items"));
    items.replace("}\n#[automatically_derived]", "}\n\n#[automatically_derived]")
}

fn parse(code: &str) -> TokenStream {
    code.parse().expect("the tests hold no unbalanced brackets")
}

/// Compares an expansion with the file of the docs that shows it.
fn shown(file: &str, block: &str) {
    let path = format!("{}/../kengine/docs/expansion/{file}", env!("CARGO_MANIFEST_DIR"));
    let expansion = expand("", block);
    if env::var_os("EXPANSION").is_some_and(|value| value == "overwrite") {
        fs::write(&path, &expansion).expect("the docs can be written");
    }
    let shown = fs::read_to_string(path).unwrap_or_default();
    assert!(
        shown == expansion,
        "`kengine/docs/expansion/{file}` shows another expansion than this one; if that is intended, run\n\
         EXPANSION=overwrite cargo test -p kengine-macros\n\n{expansion}"
    );
}

#[test]
fn the_docs_show_the_expansion_of_a_route() {
    shown(
        "route.rs",
        r#"impl Game {
            #[route("chat")]
            async fn chat(&self, chat: Chat) -> String {
                format!("hey, you said: {}", chat.greeting)
            }
        }"#,
    );
}

#[test]
fn the_docs_show_the_expansion_of_hooks_and_a_policy() {
    shown(
        "hooks.rs",
        r#"impl Game {
            #[accept]
            async fn enter(&self, handshake: &Handshake) -> Result<Player, Refusal> {
                self.players.find(handshake.query("ticket")).ok_or_else(|| Refusal::unauthorized("no ticket"))
            }
            #[before]
            async fn guard(&self, call: &Call, player: &Player) -> Result<(), Error> {
                if player.muted { Err(Error::new("muted", call.route)) } else { Ok(()) }
            }
            #[route("move", rate = "30/s", timeout = "50ms")]
            async fn step(&self, player: &Player, step: Step) {
                player.step(step);
            }
        }"#,
    );
}

#[test]
fn another_path_to_the_crate_leaves_none_of_the_default() {
    let every_form = r#"
        impl<D: Db> Game<D> where D: Sized {
            #[route("chat")]
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
    let ours = expand(r#"key = "type""#, every_form);
    assert!(ours.contains("kengine"), "{ours}");
    let theirs = expand(r#"key = "type", crate = crate::net::engine"#, every_form);
    assert!(!theirs.contains("kengine"), "{theirs}");
    // Longer paths break other lines.
    let without_spaces = |code: &str| code.replace([' ', '\n', ','], "");
    assert_eq!(without_spaces(&theirs), without_spaces(&ours.replace("::kengine", "crate::net::engine")));
}

#[test]
fn nor_does_the_inert_implementation() {
    let theirs = expand("keys, crate = crate::net::engine", "impl Game { #[route] fn chat(&self) {} }");
    assert!(!theirs.contains("kengine::"), "{theirs}");
}

#[test]
fn a_hook_under_cfg_is_known_under_it() {
    let expansion =
        expand("", "impl Game { #[fallback] #[cfg(unix)] #[cfg(debug_assertions)] async fn rest(&self) {} }");
    let known = "fallback: ::core::cfg!(any(all(unix, debug_assertions)))";
    assert!(expansion.contains(known), "{expansion}");
}

#[test]
fn positions_are_literals_up_to_the_first_cfg() {
    let expansion = expand(
        "",
        r"impl Game {
            #[route]
            async fn one(&self) {}
            #[route]
            #[cfg(unix)]
            async fn two(&self) {}
            #[route]
            async fn three(&self) {}
        }",
    );
    assert!(expansion.contains("enter(context, answer, 0)"), "{expansion}");
    for name in ["two", "three"] {
        let position = format!("position::<Self>(\"{name}\")");
        assert!(expansion.contains(&position), "{expansion}");
    }
}
