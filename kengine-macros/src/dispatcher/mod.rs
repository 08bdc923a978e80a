//! `#[dispatcher]` on an `impl` block.
//!
//! `args`, `attr` and `policy` read the attributes, and `item` and `block` the block around them, faults included.
//! `validate` turns them into a [`Dispatcher`], or returns every fault. `expand` takes only a [`Dispatcher`] and cannot
//! fail. If there are faults, `faulty` generates what the rest of the user's program needs to compile.

mod args;
mod attr;
mod block;
mod call;
mod cfgs;
mod expand;
mod faulty;
mod handler;
mod item;
mod policy;
mod session;
mod validate;

use proc_macro2::TokenStream;
use quote::quote;

pub(crate) use self::faulty::misplaced;
use self::{args::Args, block::Block, validate::Dispatcher};
use crate::errors::Errors;

/// Expands `#[dispatcher(args)] item`.
pub(crate) fn dispatcher(args: TokenStream, item: &TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let args = Args::parse(args, &mut errors);
    let block = match Block::parse(item.clone(), &args.krate, &mut errors) {
        Ok(block) => block,
        Err(error) => {
            errors.push(error);
            return quote!(#item #errors);
        }
    };
    match Dispatcher::validate(&args, &block, errors) {
        Ok(dispatcher) => expand::expand(&dispatcher),
        Err(errors) => faulty::expand(&args, &block, &errors),
    }
}

#[cfg(test)]
mod tests {
    use proc_macro2::{Group, TokenStream, TokenTree};

    use super::{dispatcher, misplaced};
    use crate::tests::{EVERY_FORM, assert_shown, parse, shown};

    fn expand(args: &str, block: &str) -> String {
        shown(dispatcher(parse(args), &parse(block)))
    }

    #[test]
    fn the_docs_show_the_expansion_of_a_route() {
        assert_shown(
            "route.rs",
            &expand(
                "",
                r#"impl Game {
            #[route("chat")]
            async fn chat(&self, chat: Chat) -> String {
                format!("hey, you said: {}", chat.greeting)
            }
        }"#,
            ),
        );
    }

    #[test]
    fn the_docs_show_the_expansion_of_hooks_and_a_policy() {
        assert_shown(
            "hooks.rs",
            &expand(
                "",
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
            ),
        );
    }

    /// A macro sees such types before the compiler refuses them.
    #[test]
    fn types_may_end_with_a_plus() {
        let code = "impl Game {
            #[accept]
            async fn enter(&self, handshake: A +) -> B + {}
            #[before]
            async fn guard(&self, call: C +) {}
            #[route]
            async fn chat(&self, connection: D +, chat: E +) {}
        }";
        let expansion = expand("", code);
        for ty in ["A", "B", "C", "D", "E"] {
            assert!(expansion.contains(&format!("<(dyn {ty}) as ")), "{ty}: {expansion}");
        }
    }

    #[test]
    fn another_crate_path_replaces_every_default_path() {
        let ours = expand(r#"key = "type""#, EVERY_FORM);
        assert!(ours.contains("kengine"), "{ours}");
        let theirs = expand(r#"key = "type", crate = crate::net::engine"#, EVERY_FORM);
        assert!(!theirs.contains("kengine"), "{theirs}");
        // Longer paths change where lines are broken.
        let without_spaces = |code: &str| code.replace([' ', '\n', ','], "");
        assert_eq!(without_spaces(&theirs), without_spaces(&ours.replace("::kengine", "crate::net::engine")));
    }

    #[test]
    fn another_crate_path_is_used_in_the_inert_dispatcher() {
        let theirs = expand("keys, crate = crate::net::engine", "impl Game { #[route] fn chat(&self) {} }");
        assert!(!theirs.contains("kengine::"), "{theirs}");
    }

    #[test]
    fn a_hook_under_cfg_is_listed_under_the_same_cfg() {
        let expansion =
            expand("", "impl Game { #[fallback] #[cfg(unix)] #[cfg(debug_assertions)] async fn rest(&self) {} }");
        let listed = "hooks.fallback = ::core::cfg!(any(all(unix, debug_assertions)));";
        assert!(expansion.contains(listed), "{expansion}");
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
        assert!(expansion.contains("enter(context, 0)"), "{expansion}");
        for name in ["two", "three"] {
            let position = format!("position::<Self>(\"{name}\")");
            assert!(expansion.contains(&position), "{expansion}");
        }
    }

    /// Returns an expansion without spaces.
    fn dense(args: &str, block: &str) -> String {
        dispatcher(parse(args), &parse(block)).to_string().replace(' ', "")
    }

    #[test]
    fn only_another_syntax_is_written() {
        let block = "impl Game { #[route] async fn chat(&self) {} }";
        assert!(!dense("", block).contains("SYNTAX"));
        for (args, syntax) in [
            ("flat", r#"flat("method")"#),
            (r#"flat, key = "type""#, r#"flat("type")"#),
            (r#"key = "type""#, r#"new("type","message")"#),
            (r#"payload = "data""#, r#"new("method","data")"#),
        ] {
            let expansion = dense(args, block);
            assert!(expansion.contains(&format!("Syntax=::kengine::wire::Syntax::{syntax};")), "{expansion}");
        }
    }

    #[test]
    fn a_block_with_faults_still_has_its_session() {
        let accept = "#[accept] async fn enter(&self) ->";
        for (args, header, accept, session) in [
            ("", "Game", String::new(), Some("()")),
            ("session = Player", "Game", String::new(), Some("Player")),
            ("session = Player", "Game", format!("{accept} Guest {{}}"), Some("Player")),
            ("", "Game", format!("{accept} Guest {{}}"), Some("<Guestas::kengine::__private::Accepted")),
            ("", "Game", format!("{accept} impl Session {{}}"), Some("()")),
            ("", "Game", "#[open] async fn enter(&self) -> Guest {}".to_owned(), Some("()")),
            ("", "Other for Game", String::new(), Some("()")),
            ("", "kengine::Dispatcher for Game", String::new(), None),
            ("", "(Game,)", String::new(), None),
            ("", "<Game as Alias>::Type", String::new(), None),
        ] {
            let block = format!("impl {header} {{ {accept} #[route] fn chat(&self) {{}} }}");
            let expansion = dense(args, &block);
            assert!(expansion.contains("compile_error"), "{block}");
            let found = expansion.split_once("typeSession=").map(|(_, rest)| rest);
            match (session, found) {
                (None, None) => {}
                (Some(session), Some(found)) => assert!(found.starts_with(session), "{block}: {found}"),
                _ => panic!("{block}: {found:?}"),
            }
        }
    }

    #[test]
    fn an_item_that_is_no_block_stays_as_it_is() {
        for (item, has_impl) in [
            ("impl Game ()", false),
            ("impl Game;", false),
            ("pub fn f() {}", false),
            ("impl for {}", true),
            ("unsafe impl for {}", true),
        ] {
            let item = parse(item);
            let expansion = dispatcher(TokenStream::new(), &item).to_string();
            assert!(expansion.starts_with(&format!("{item} :: core :: compile_error")), "{expansion}");
            // If there is an `impl`, the error says what is wrong behind it.
            assert_eq!(expansion.contains("expected an `impl` block"), !has_impl, "{expansion}");
        }
    }

    #[test]
    fn deprecation_is_allowed_if_a_handler_is_deprecated() {
        for (block, is_allowed) in [
            ("impl Game { #[route] #[deprecated] async fn chat(&self) {} }", true),
            ("#[deprecated] impl Game { #[route] async fn chat(&self) {} }", true),
            ("impl Game { #[route] async fn chat(&self) {} #[deprecated] fn other(&self) {} }", false),
        ] {
            let expansion = dense("", block);
            assert_eq!(expansion.contains("#[allow(deprecated)]#[automatically_derived]"), is_allowed, "{expansion}");
        }
    }

    #[test]
    fn each_hook_takes_its_arguments_from_its_event() {
        let block = "impl Game {
            #[accept] async fn enter(&self, first: &Handshake) -> Player {}
            #[before] async fn guard(&self, first: &Call) {}
            #[close] async fn leave(&self, first: &DisconnectReason) {}
            #[open] async fn greet(&self, first: &Player) {}
            #[route] async fn chat(&self, first: &Hub, last: Chat) {}
        }";
        let expansion = dense("session = Player", block);
        for argument in [
            "<&HandshakeasPATH::IsAcceptArgument<'_>>::take(handshake)",
            "<&CallasPATH::IsHookArgument<'_,Self::Session,PATH::Call,_>>::take(context,call)?",
            "<&DisconnectReasonasPATH::IsHookArgument<'_,Self::Session,PATH::DisconnectReason,_>>::take(context,reason)?",
            "<&PlayerasPATH::FromContext<'_,Self::Session>>::take(context)?",
            "<&HubasPATH::FromContext<'_,Self::Session>>::take(context)?",
        ] {
            assert!(expansion.contains(&argument.replace("PATH", "::kengine::__private")), "{argument}: {expansion}");
        }
    }

    #[test]
    fn lifetimes_of_a_method_are_elided_in_the_types_of_its_arguments() {
        for (types, written) in [
            ("&'a Chat<'a>", "&'_Chat<'_>"),
            ("Chat<'unknown>", "Chat<'_>"),
            ("Chat<'static>", "Chat<'static>"),
            ("Chat<'a, Box<dyn for<'b> Fn(&'b u8)>>", "Chat<'_,Box<dynfor<'b>Fn(&'bu8)>>"),
        ] {
            let expansion = dense(
                "",
                &format!("impl Game {{ #[route] async fn chat<'a>(&'a self, first: {types}, last: u8) {{}} }}"),
            );
            assert!(expansion.contains(&format!("<{written}as::kengine::__private::FromContext<")), "{expansion}");
        }
    }

    #[test]
    fn an_attribute_outside_of_a_block_is_reported_beside_the_item() {
        let expansion = misplaced("route", &parse("fn chat() {}")).to_string();
        assert!(expansion.starts_with("fn chat () { }"), "{expansion}");
        assert!(expansion.contains("`#[route]` can only be used inside"), "{expansion}");
    }

    /// Returns the tokens without one of them, counted in reading order.
    fn without(tokens: TokenStream, left_out: &mut usize) -> TokenStream {
        let mut kept = Vec::new();
        for token in tokens {
            let is_left_out = *left_out == 0;
            *left_out = left_out.wrapping_sub(1);
            kept.extend(match token {
                _ if is_left_out => None,
                TokenTree::Group(group) => {
                    let inner = without(group.stream(), left_out);
                    Some(TokenTree::Group(Group::new(group.delimiter(), inner)))
                }
                token => Some(token),
            });
        }
        kept.into_iter().collect()
    }

    #[test]
    fn a_block_with_a_missing_token_is_expanded_without_a_panic() {
        let block = parse(EVERY_FORM);
        let mut missing = 0;
        loop {
            let mut left_out = missing;
            let partial = without(block.clone(), &mut left_out);
            // Counts down past zero if there is such a token.
            if left_out <= missing {
                break;
            }
            assert!(!dispatcher(TokenStream::new(), &partial).is_empty(), "{partial}");
            missing += 1;
        }
        assert!(missing > 100, "only {missing} tokens were left out");
    }
}
