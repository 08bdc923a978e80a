//! What the macros say about each mistake, and that each form of the language compiles.
//!
//! After a change of the words: `TRYBUILD=overwrite cargo test -p kengine-language-tests`, then read the diff.

#[test]
fn each_form_of_the_language_compiles() {
    trybuild::TestCases::new().pass("ui/pass/*.rs");
}

/// Apart from those that compile: mistakes alone are checked all at once.
#[test]
fn each_mistake_is_told() {
    trybuild::TestCases::new().compile_fail("ui/fail/*/*.rs");
}
