//! The page `kengine/docs/architecture.md` names only files and functions that exist.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns the texts between backticks.
fn code_spans() -> Vec<String> {
    let page = fs::read_to_string(workspace().join("kengine/docs/architecture.md")).expect("the page");
    let prose: String = page.split("```").step_by(2).collect();
    prose.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn sources() -> String {
    let mut folders = vec![workspace().join("kengine/src")];
    let mut sources = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of sources") {
            let path = entry.expect("a folder of sources").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                sources += &fs::read_to_string(path).expect("a source file");
            }
        }
    }
    sources
}

#[test]
fn every_path_exists() {
    let starts = ["kengine/src", "kengine/src/cluster/redis", "kengine/openresty", "kengine-macros/src", "."];
    let is_path = |span: &String| {
        let is_file = [".rs", ".lua", ".md", ".conf"].iter().any(|extension| span.ends_with(extension));
        !span.starts_with('/') && !span.contains(['{', ' ', '*']) && (is_file || span.contains('/'))
    };
    let paths: Vec<_> = code_spans().into_iter().filter(is_path).collect();
    assert!(paths.len() > 20);
    for path in paths {
        let exists = starts.iter().any(|start| workspace().join(start).join(&path).exists());
        assert!(exists, "`{path}` does not exist");
    }
}

#[test]
fn every_function_exists() {
    let sources = sources();
    let spans = code_spans();
    let paths = spans.iter().filter_map(|span| span.split_once("::"));
    let functions = paths.filter(|(of, _)| of.starts_with(|char: char| char.is_ascii_uppercase()));
    for (of, name) in functions {
        assert!(sources.contains(&format!("fn {name}")), "`{of}::{name}` does not exist");
    }
}
