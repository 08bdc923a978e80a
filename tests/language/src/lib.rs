//! Each supported form compiles, and does what it says. The mistakes are in `ui`.

#![cfg(test)]
#![allow(dead_code, clippy::all)]

pub mod arguments_by_value;
pub mod arguments_under_cfg;
pub mod borrowed_messages;
pub mod composition;
pub mod context_arguments;
pub mod deprecated;
pub mod every_reply;
pub mod forbidden_lints;
pub mod generic_dispatcher;
pub mod hooks;
pub mod hooks_under_cfg;
pub mod inside_macro_rules;
pub mod members_of_a_message;
pub mod private_types;
pub mod pushes;
pub mod renamed_crate;
pub mod routes_under_cfg;
pub mod strict_lints;
pub mod taken_names;
pub mod the_twenty_lines;
pub mod whole_blocks;
pub mod without_prelude;
