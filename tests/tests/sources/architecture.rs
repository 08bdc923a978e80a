//! The pages `architecture` and `security` name only files that exist, and `architecture` only functions that exist.

use crate::{files, read, workspace};

/// The folders that paths on the page are relative to.
const FOLDERS: [&str; 2] = ["kengine/src", "."];

/// Returns the texts between backticks on a page.
fn code_spans(page: &str) -> Vec<String> {
    let page = read(format!("kengine/docs/{page}.md"));
    let prose: String = page.split("```").step_by(2).collect();
    prose.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn is_path(span: &str) -> bool {
    let is_file = [".rs", ".lua", ".md", ".conf"].iter().any(|extension| span.ends_with(extension));
    !span.starts_with('/') && !span.contains(['{', ' ', '*']) && (is_file || span.contains('/'))
}

#[test]
fn every_path_exists() {
    for page in ["architecture", "security"] {
        let spans = code_spans(page);
        let paths: Vec<_> = spans.iter().filter(|span| is_path(span)).collect();
        assert!(paths.len() > 20, "{page}: {paths:?}");
        for path in paths {
            let exists = FOLDERS.iter().any(|folder| workspace().join(folder).join(path).exists());
            assert!(exists, "{page}: `{path}` does not exist");
        }
    }
}

#[test]
fn every_function_exists() {
    let sources: String = files(&workspace().join("kengine/src")).into_iter().map(read).collect();
    let spans = code_spans("architecture");
    let functions = spans.iter().filter_map(|span| span.split_once("::"));
    let methods = functions.filter(|(of, _)| of.starts_with(|char: char| char.is_ascii_uppercase()));
    for (of, name) in methods {
        assert!(sources.contains(&format!("fn {name}")), "`{of}::{name}` does not exist");
    }
}
