//! What the macros say about each mistake, and that each form of the language compiles.
//!
//! After a change of the words: `TRYBUILD=overwrite cargo test -p kengine-tests --test ui`, then read the diff.

#[test]
fn macros() {
    let cases = trybuild::TestCases::new();
    cases.pass("ui/pass/*.rs");
    cases.compile_fail("ui/fail/*/*.rs");
}
