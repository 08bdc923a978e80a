//! The page `wire` lists exactly the codes that the sources use.

use std::collections::BTreeSet;

use crate::{files, read, workspace};

/// Returns the rows of the table in a section of the page, each as its cells. Backticks are removed.
fn table(section: &str) -> Vec<Vec<String>> {
    let page = read("kengine/docs/wire.md");
    let (_, rest) = page.split_once(&format!("\n# {section}\n")).expect("the page has the section");
    let section = rest.split("\n# ").next().unwrap_or(rest);
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.split('|').skip(1).map(|cell| cell.trim().replace('`', "")).collect()).collect()
}

fn column(section: &str, index: usize) -> BTreeSet<String> {
    table(section).into_iter().map(|row| row[index].clone()).collect()
}

/// Returns the library's code without comments, unit tests and whitespace.
fn code() -> String {
    let mut code = String::new();
    for path in files(&workspace().join("kengine/src")) {
        if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            let source = read(path);
            let library = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or(&source);
            let lines = library.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
            code.extend(lines.flat_map(str::split_whitespace));
        }
    }
    code
}

/// Returns the string literals that directly follow a text.
fn literals_after(code: &str, start: &str) -> BTreeSet<String> {
    let literals = code.split(start).skip(1).filter_map(|rest| rest.strip_prefix('"')?.split('"').next());
    literals.map(str::to_owned).collect()
}

#[test]
fn every_error_code_is_documented() {
    let code = code();
    let mut used = literals_after(&code, "Error::new(");
    // In `impl Error` and in conversions into an error, the type is written as `Self`.
    let blocks = ["implError{", "forError{"].into_iter().flat_map(|start| code.split(start).skip(1));
    for block in blocks {
        let block = block.split("}impl").next().unwrap_or(block);
        used.extend(literals_after(block, "Self::new("));
    }
    assert_eq!(column("Error codes", 0), used);
}

#[test]
fn every_close_code_is_documented() {
    let source = read("kengine/src/websocket/close.rs");
    let constants = source.lines().filter_map(|line| line.trim().strip_prefix("pub const "));
    let constants: BTreeSet<_> = constants
        .filter_map(|constant| constant.strip_suffix(");")?.split_once(": Self = Self("))
        .map(|(name, code)| (code.to_owned(), name.to_owned()))
        .collect();
    let documented = table("Close codes").into_iter().map(|row| (row[0].clone(), row[1].clone()));
    assert_eq!(documented.collect::<BTreeSet<_>>(), constants);
}

#[test]
fn every_http_code_is_documented() {
    let code = code();
    let statuses = code.split("with_status(StatusCode::").skip(1);
    let mut used: BTreeSet<_> = statuses
        .filter_map(|rest| rest.split_once(',')?.1.strip_prefix('"')?.split('"').next())
        .map(str::to_owned)
        .collect();
    // The gateway's codes are written as `return answer(503, "no_node", …)`.
    let gateway = read("kengine/openresty/kengine.lua");
    let answers = gateway.split("return answer(").skip(1);
    used.extend(answers.filter_map(|rest| rest.split('"').nth(1)).map(str::to_owned));
    assert_eq!(column("HTTP codes", 1), used);
}
