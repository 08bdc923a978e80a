//! Every name in the expansion may also be a name of the user's module: of a `static`, a constant, a unit struct, a
//! trait method or an associated constant of every type.

#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals, dead_code, unused_macros)]

/// Calls a macro with the identifiers of the expansion. A unit test of `kengine-macros` compares them with those that
/// the expansion really has.
macro_rules! names {
    ($callback:ident) => {
        $callback! {
            // Variables and parameters.
            answer call context handshake hooks reason reply returned
            // Functions and methods.
            accept all any argument automatically_derived before check check_hook check_routes check_syntax close deny dispatch dispatcher end enter
            fallback flat handler_future heartbeat into_error into_refusal len limit liveness map_err max_size
            new no_message open part position rate result resume returned_value route routes session shifted suspend take timeout unreachable_patterns
            write key field index deref from_millis from_secs
            // Types, traits, constants and modules.
            __private Accepted Answer Call Context DELIVERY Delivery Dispatcher DisconnectReason Duration FromContext
            HOOKS Handshake Hooks IsAcceptArgument IsErrorReply IsHookArgument IsHookOutput IsLiveness IsMessage
            IsOwned IsPushKey IsReference IsRefusal IsReply IsSameSession IsSerialize IsSession Latest Liveness NAME
            NONE CHECKED FORM IsAcceptOutput Ok Part Push READS_LATE ROUTES Refusal Result Route SYNTAX Serialize Session Syntax Table UNKNOWN Unfit
            Verdict bool core kengine primitive push str time variables wire
        }
    };
}

#[derive(serde::Deserialize)]
pub struct Chat<'a> {
    greeting: &'a str,
}

/// The blocks, in a module where the names are taken.
macro_rules! blocks {
    ($module:ident { $($taken:item)* }) => {
        mod $module {
            $($taken)*

            #[derive(::kengine::Push)]
            #[push("position", latest(player))]
            pub struct Position { pub player: u32 }

            // The derive macro of serde uses some of the names.
            impl ::serde::Serialize for Position {
                fn serialize<Z: ::serde::Serializer>(&self, to: Z) -> ::std::result::Result<Z::Ok, Z::Error> {
                    to.serialize_u32(self.player)
                }
            }

            pub struct Player;
            impl ::kengine::Session for Player {}

            pub struct Game;

            #[::kengine::dispatcher(key = "type", session = Player)]
            impl Game {
                #[accept]
                async fn on_accept(&self, _: &::kengine::Handshake) -> ::std::result::Result<Player, ::kengine::Refusal> {
                    ::std::result::Result::Ok(Player)
                }
                #[open]
                async fn on_open(&self, _: &Player) {}
                #[close]
                async fn on_close(&self, _: &::kengine::DisconnectReason) {}
                #[before]
                async fn on_before(&self, _: &::kengine::Call) -> ::kengine::Result<()> { ::std::result::Result::Ok(()) }
                #[route("chat", rate = "30/s", burst = 60, max_size = "512B", timeout = "50ms")]
                async fn on_chat(&self, _: &::kengine::Connection<Player>, chat: super::Chat<'_>) -> ::kengine::Result<usize> {
                    ::std::result::Result::Ok(::core::primitive::str::len(chat.greeting))
                }
                #[route("text")]
                async fn on_text(&self, text: &::core::primitive::str) -> usize { ::core::primitive::str::len(text) }
                #[route("nothing")]
                async fn on_nothing(&self) {}
                #[heartbeat]
                async fn on_heartbeat(&self) -> ::kengine::Liveness { ::kengine::Liveness::Silent }
                #[fallback]
                #[cfg(all())]
                async fn on_fallback(&self, _: &::kengine::wire::Envelope<'_>) {}
            }

            pub struct Admitted;

            #[::kengine::dispatcher]
            impl Admitted {
                #[accept]
                async fn on_accept(&self) -> Player { Player }
                #[route("other")]
                #[cfg(all())]
                async fn on_other(&self, _: ()) {}
                #[route("last")]
                async fn on_last(&self, _: &::kengine::Hub, number: u8) -> u8 { number }
            }

            #[derive(::kengine::Dispatcher)]
            pub struct Both { game: Game, more: More }

            pub struct More;

            #[::kengine::dispatcher(key = "type", session = Player)]
            impl More {
                #[route("more")]
                async fn on_more(&self) {}
            }
        }
    };
}

macro_rules! statics {
    ($($name:ident)*) => { blocks! { statics { $(static $name: u8 = 0;)* } } };
}
names!(statics);

macro_rules! constants {
    ($($name:ident)*) => { blocks! { constants { $(const $name: u8 = 0;)* } } };
}
names!(constants);

macro_rules! unit_structs {
    ($($name:ident)*) => { blocks! { unit_structs { $(struct $name;)* } } };
}
names!(unit_structs);

macro_rules! methods {
    ($($name:ident)*) => {
        blocks! { methods {
            pub trait OfEveryType { $(fn $name(self) where Self: Sized {})* }
            impl<T: ?Sized> OfEveryType for T {}
        } }
    };
}
names!(methods);

macro_rules! borrowing_methods {
    ($($name:ident)*) => {
        blocks! { borrowing_methods {
            pub trait OfEveryType { $(fn $name(&self) {})* }
            impl<T: ?Sized> OfEveryType for T {}
        } }
    };
}
names!(borrowing_methods);

macro_rules! associated_constants {
    ($($name:ident)*) => {
        blocks! { associated_constants {
            pub trait OfEveryType { $(const $name: u8 = 0;)* }
            impl<T: ?Sized> OfEveryType for T {}
        } }
    };
}
names!(associated_constants);

macro_rules! own_constants {
    ($($name:ident)*) => {
        blocks! { own_constants {
            impl Game { $(const $name: u8 = 0;)* }
            impl Admitted { $(const $name: u8 = 0;)* }
            impl Both { $(const $name: u8 = 0;)* }
            impl More { $(const $name: u8 = 0;)* }
        } }
    };
}
names!(own_constants);

macro_rules! own_functions {
    ($($name:ident)*) => {
        blocks! { own_functions {
            impl Game { $(fn $name(&self) {})* }
            impl Admitted { $(fn $name(&self) {})* }
            impl Both { $(fn $name(&self) {})* }
            impl More { $(fn $name(&self) {})* }
        } }
    };
}
names!(own_functions);

/// Names of generic parameters, which may be those of the traits' own.
pub struct Generic<A, S, T, D, __H>(std::marker::PhantomData<fn() -> (A, S, T, D, __H)>);

#[kengine::dispatcher]
impl<A: 'static, S: 'static, T: 'static, D: 'static, __H: 'static> Generic<A, S, T, D, __H> {
    #[route]
    async fn higher(&self, _: HigherRanked<for<'call> fn(&'call u8) -> &'call u8>) {}
}

#[derive(serde::Deserialize)]
#[serde(bound = "")]
pub struct HigherRanked<T>(#[serde(skip)] std::marker::PhantomData<T>);

#[derive(kengine::Push, serde::Serialize)]
#[push("generic", latest(h))]
pub struct GenericPush<__H> {
    h: u8,
    more: __H,
}

#[test]
fn the_forms_do_what_they_say() {
    assert_eq!(<own_constants::Game as kengine::Dispatcher>::ROUTES.len(), 3);
    assert_eq!(<own_constants::Both as kengine::Dispatcher>::ROUTES.len(), 4);
}
