//! A user's crate outside of the workspace: no expansion causes a warning there, even if kengine has another name.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const SOURCE: &str = include_str!("../../outside/src/lib.rs");
const MANIFEST: &str = include_str!("../../outside/Cargo.toml");

/// Checks the crate with clippy, or with rustc if clippy is missing. Returns the output as the error.
fn check(name: &str, manifest: &str, source: &str) -> Result<(), String> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(folder.join("src")).unwrap();
    let kengine = tests.join("../kengine").canonicalize().unwrap();
    // Each folder's package has its own name, because cargo cannot tell packages of the same name in one target folder
    // apart.
    let manifest = manifest.replace("name = \"outside\"", &format!("name = \"{name}\""));
    let manifest = manifest.replace("../../kengine", kengine.to_str().unwrap());
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    fs::write(folder.join("src/lib.rs"), source).unwrap();
    // The versions of the workspace are downloaded already.
    fs::copy(tests.join("../Cargo.lock"), folder.join("Cargo.lock")).unwrap();

    let cargo = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO"));
        command.args(arguments).current_dir(&folder).env("CARGO_TARGET_DIR", target());
        command.output().unwrap()
    };
    let clippy = cargo(&["clippy", "--version"]).status.success();
    let checked = cargo(&[if clippy { "clippy" } else { "check" }, "--quiet", "--offline"]);
    match String::from_utf8_lossy(&checked.stderr).into_owned() {
        output if output.is_empty() && checked.status.success() => Ok(()),
        output => Err(output),
    }
}

/// Returns the target folder of the workspace, in which the dependencies are built already.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().to_owned()
}

#[test]
fn every_form_passes_without_a_warning() {
    check("outside", MANIFEST, SOURCE).unwrap_or_else(|output| panic!("{output}"));
}

#[test]
fn every_form_passes_in_the_previous_edition() {
    let manifest = MANIFEST.replace("edition = \"2024\"", "edition = \"2021\"");
    assert_ne!(manifest, MANIFEST);
    check("outside-2021", &manifest, SOURCE).unwrap_or_else(|output| panic!("{output}"));
}

#[test]
fn every_form_passes_with_kengine_under_another_name() {
    let manifest = MANIFEST.replace("\nkengine = { ", "\nnet = { package = \"kengine\", ");
    let source = SOURCE
        .replace("#[::kengine::dispatcher]", "#[::net::dispatcher(crate = ::net)]")
        .replace("#[::kengine::dispatcher(", "#[::net::dispatcher(crate = ::net, ")
        .replace("#[kengine(", "#[kengine(crate = ::net, ")
        .replace("#[push(", "#[push(crate = ::net, ")
        .replace("::kengine::", "::net::");
    check("outside-renamed", &manifest, &source).unwrap_or_else(|output| panic!("{output}"));
}

#[test]
fn a_warning_is_reported() {
    let source = SOURCE.replace("async fn wave(&self, _: Grown) {}", "async fn wave(&self, unused: Grown) {}");
    let output = check("outside-warned", MANIFEST, &source).unwrap_err();
    assert!(output.contains("unused variable"), "{output}");
}
