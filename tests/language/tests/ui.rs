//! UI tests of the macros: each supported form compiles, and each mistake has its error message.
//!
//! After a change of messages, run `TRYBUILD=overwrite cargo test -p kengine-language-tests` and review the diff.

#[test]
fn each_supported_form_compiles() {
    trybuild::TestCases::new().pass("ui/pass/*.rs");
}

/// Separate from the forms that compile, because `trybuild` checks all files in one build if none of them has to run.
#[test]
fn each_mistake_is_reported() {
    trybuild::TestCases::new().compile_fail("ui/fail/*/*.rs");
}
