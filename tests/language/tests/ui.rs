//! UI tests of the macros: each mistake has its error message. The forms that compile are in `forms`.
//!
//! After a change of messages, run `TRYBUILD=overwrite cargo test -p kengine-language-tests` and review the diff.

#[test]
fn each_mistake_is_reported() {
    trybuild::TestCases::new().compile_fail("ui/*/*.rs");
}
