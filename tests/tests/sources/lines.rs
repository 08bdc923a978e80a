//! No line of prose is longer than the lines of code, which rustfmt breaks.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::workspace;

/// `max_width` in `rustfmt.toml`.
const MAX_LENGTH: usize = 120;

/// The folders with sources and pages.
const FOLDERS: [&str; 5] = [".github", "examples", "kengine", "kengine-macros", "tests"];

/// Collects the files in a folder, without what cargo has built.
fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("a folder of sources").path();
        if !path.is_dir() {
            found.push(path);
        } else if !path.ends_with("target") {
            collect(&path, found);
        }
    }
}

/// Returns the prose of a line of Rust, if it contains nothing but a comment.
fn comment(line: &str) -> Option<&str> {
    let line = line.trim_start();
    ["///", "//!", "//"].iter().find_map(|start| line.strip_prefix(start))
}

/// Whether a line of Markdown is one link, perhaps of a list or at the end of a sentence.
fn is_link(prose: &str) -> bool {
    let prose = prose.strip_prefix("- ").unwrap_or(prose).trim_end_matches(['.', ',', ';', ':']);
    let is_one = prose.matches("](").count() == 1 && prose.starts_with('[') && prose.ends_with(')');
    is_one || !prose.contains(' ') || prose.starts_with('[') && prose.contains("]: ")
}

/// Returns the numbers of the lines that are too long. In Markdown and in comments of Rust, these are not tables, code,
/// or links, which cannot be broken; in Lua they can be any lines.
fn too_long(extension: &str, text: &str) -> Vec<usize> {
    let mut is_code = false;
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let prose = if extension == "rs" { comment(line) } else { Some(line) };
        let Some(prose) = prose.map(str::trim) else {
            is_code = false;
            continue;
        };
        if extension != "lua" {
            if prose.starts_with("```") {
                is_code = !is_code;
            }
            if is_code || prose.starts_with('|') || is_link(prose) {
                continue;
            }
        }
        if line.chars().count() > MAX_LENGTH {
            found.push(at + 1);
        }
    }
    found
}

#[test]
fn no_line_is_too_long() {
    let mut files = Vec::new();
    for folder in FOLDERS {
        collect(&workspace().join(folder), &mut files);
    }
    files.extend(["CHANGELOG.md", "README.md"].map(|page| workspace().join(page)));
    let mut found = Vec::new();
    for extension in ["rs", "md", "lua"] {
        let of_kind = files.iter().filter(|path| path.extension().is_some_and(|of| of == extension));
        let mut count = 0;
        for path in of_kind {
            let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let path = path.strip_prefix(workspace()).expect("a file of the workspace").display();
            found.extend(too_long(extension, &text).into_iter().map(|line| format!("{path}:{line}")));
            count += 1;
        }
        assert!(count > 10, "only {count} files with `.{extension}` were found");
    }
    assert!(found.is_empty(), "lines that are longer than {MAX_LENGTH} characters: {found:#?}");
}

#[test]
fn a_line_that_is_too_long_is_found() {
    let long = "word ".repeat(25);
    let link = format!("[{long}](https://example.org/)");
    let page = format!("{long}\n|{long}|\n```\n{long}\n```\n{long}\n- {link}.\n{long} {link}\n{}", "x".repeat(121));
    assert_eq!(too_long("md", &page), [1, 6, 8]);
    let source =
        format!("//! {long}\n/// ```\n/// {long}\n/// ```\n/// |{long}|\nfn f() {{\n    // {long}\n    \"{long}\"");
    assert_eq!(too_long("rs", &source), [1, 7]);
    assert_eq!(too_long("lua", &format!("x\n-- |{long}\n{}", "x".repeat(121))), [2, 3]);
    assert_eq!(too_long("md", &"\u{e4} ".repeat(60)), [0; 0]);
}
