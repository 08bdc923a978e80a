//! What a method of a block can be marked as: a route, or one of the hooks.

use std::fmt;

use proc_macro2::{Ident, Span};

/// Calls a macro with the list of all hooks. Generated methods and errors follow the order of this list.
macro_rules! for_each_hook {
    ($callback:ident) => {
        $callback! {
            Accept accept,
            Open open,
            Suspend suspend,
            Resume resume,
            Close close,
            Before before,
            Heartbeat heartbeat,
            Fallback fallback,
        }
    };
}
pub(crate) use for_each_hook;

macro_rules! define_hook {
    ($($hook:ident $name:ident,)*) => {
        /// A marked method that is not a route.
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Hook {
            $($hook),*
        }

        impl Hook {
            pub(crate) const ALL: &[Self] = &[$(Self::$hook),*];

            /// Returns the name of the attribute, which is also that of the trait's method.
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$hook => stringify!($name)),*
                }
            }
        }
    };
}
for_each_hook!(define_hook);

impl Hook {
    /// Returns the hooks that the constant `Dispatcher::HOOKS` lists; a composed dispatcher has at most one of each.
    pub(crate) fn listed() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|hook| *hook != Self::Before)
    }

    /// Returns the hook's name as an identifier.
    pub(crate) fn ident(self, span: Span) -> Ident {
        Ident::new(self.name(), span)
    }

    /// Returns what errors call such a method, without an article.
    pub(crate) fn noun(self) -> String {
        match self {
            Self::Heartbeat | Self::Fallback => self.name().to_owned(),
            Self::Accept | Self::Open | Self::Suspend | Self::Resume | Self::Close | Self::Before => {
                format!("`#[{}]` hook", self.name())
            }
        }
    }
}

/// What a method is marked as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Route,
    Hook(Hook),
}

impl Role {
    /// Returns the role of an attribute of this name.
    pub(crate) fn named(name: &Ident) -> Option<Self> {
        let hooks = Hook::ALL.iter().copied().map(Self::Hook);
        std::iter::once(Self::Route).chain(hooks).find(|role| name == role.name())
    }

    /// Whether a block may consist of such methods only. A part of a composed dispatcher may have hooks without routes,
    /// but a block with only `#[before]` or `#[heartbeat]` is probably a mistake.
    pub(crate) fn stands_alone(self) -> bool {
        !matches!(self, Self::Hook(Hook::Before | Hook::Heartbeat))
    }

    /// Returns the name of the attribute.
    fn name(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Hook(hook) => hook.name(),
        }
    }

    /// Returns what errors call such a method: a block can have many routes, but only one of each hook.
    pub(crate) fn noun(self) -> String {
        match self {
            Self::Route => "a route".to_owned(),
            Self::Hook(hook) => format!("the {}", hook.noun()),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
