//! The UI tests of the macros, without a compiler: each error must also be found here, at the same place. This takes
//! milliseconds, and covers what the macros report. What the compiler reports is left to `kengine-language-tests`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use crate::{compose, dispatcher, push};

/// Parts of what the compiler reports without a code, and of what the macros report at the place of a macro, which only
/// the compiler knows. In the folder `partial`, the compiler reports everything except that something is incomplete.
const OF_THE_COMPILER: [&str; 6] = [
    "can only be used inside an `impl`",
    "cannot be both `const` and `async`",
    "cannot be sent between threads",
    "cannot find attribute",
    "the `#[test]` attribute",
    "unreachable pattern",
];

/// An error: its line and column, and the first line of its text.
type Mistake = (usize, usize, String);

/// Returns the files of a folder of `kengine-language-tests`.
fn files(folder: &str) -> Vec<PathBuf> {
    fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("the UI tests are in the same repository") {
            let path = entry.expect("a folder").path();
            if path.is_dir() {
                collect(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let mut found = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/language").join(folder), &mut found);
    found
}

/// An attribute: the last name of its path, what is in its parentheses, and the whole.
struct Attribute {
    name: String,
    arguments: TokenStream,
    tokens: [TokenTree; 2],
}

impl Attribute {
    fn read(hash: TokenTree, group: Group) -> Self {
        let tokens: Vec<_> = group.stream().into_iter().collect();
        let path = tokens.iter().take_while(|token| matches!(token, TokenTree::Ident(_)) || is_punct(token, ':'));
        let name = path.last().map(ToString::to_string).unwrap_or_default();
        let arguments = tokens.iter().find_map(|token| match token {
            TokenTree::Group(group) => Some(group.stream()),
            _ => None,
        });
        Self { name, arguments: arguments.unwrap_or_default(), tokens: [hash, group.into()] }
    }

    fn derives(&self, name: &str) -> bool {
        let is_named = |token: TokenTree| matches!(token, TokenTree::Ident(ident) if ident == name);
        self.name == "derive" && self.arguments.clone().into_iter().any(is_named)
    }
}

fn is_punct(token: &TokenTree, char: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == char)
}

/// Expands each item in these tokens that is marked with a macro, and those inside of items.
fn expand(tokens: TokenStream, expansions: &mut Vec<TokenStream>) {
    let mut tokens = tokens.into_iter().peekable();
    while tokens.peek().is_some() {
        let (mut attributes, mut item) = (Vec::new(), Vec::new());
        while let Some(token) = tokens.next() {
            let attribute = tokens.peek().and_then(|next| match next {
                TokenTree::Group(group) if is_punct(&token, '#') && item.is_empty() => Some(group.clone()),
                _ => None,
            });
            if let Some(attribute) = attribute {
                tokens.next();
                attributes.push(Attribute::read(token, attribute));
                continue;
            }
            let is_end = is_punct(&token, ';')
                || matches!(&token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
            item.push(token);
            if is_end {
                break;
            }
        }
        expand_item(&attributes, &item, expansions);
    }
}

/// Expands an item if it is marked with a macro, and the items inside of it otherwise.
fn expand_item(attributes: &[Attribute], item: &[TokenTree], expansions: &mut Vec<TokenStream>) {
    let whole = |is_left_out: &dyn Fn(&Attribute) -> bool| -> TokenStream {
        let attributes = attributes.iter().filter(|attribute| !is_left_out(attribute));
        attributes.flat_map(|attribute| &attribute.tokens).chain(item).cloned().collect()
    };
    if let Some(marked) = attributes.iter().find(|attribute| attribute.name == "dispatcher") {
        let item = whole(&|attribute| std::ptr::eq(attribute, marked));
        expansions.push(dispatcher::dispatcher(marked.arguments.clone(), &item));
        return;
    }
    let is_derive = |attribute: &Attribute| attribute.name == "derive";
    for (name, derive) in [("Push", push::derive as fn(&_) -> _), ("Dispatcher", compose::derive)] {
        if attributes.iter().any(|attribute| attribute.derives(name)) {
            expansions.push(derive(&syn::parse2(whole(&is_derive)).expect("an item")));
        }
    }
    // What a macro of the file generates is not known here.
    let is_macro = matches!(item.first(), Some(TokenTree::Ident(ident)) if ident == "macro_rules");
    for token in item.iter().filter(|_| !is_macro) {
        if let TokenTree::Group(group) = token {
            expand(group.stream(), expansions);
        }
    }
}

/// Collects each `compile_error!`.
fn collect(expansion: TokenStream, mistakes: &mut BTreeSet<Mistake>) {
    let tokens: Vec<_> = expansion.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Ident(ident) if ident == "compile_error" => {
                let Some(TokenTree::Group(group)) = tokens.get(at + 2) else { panic!("{ident} without a text") };
                let text: syn::LitStr = syn::parse2(group.stream()).expect("a string");
                // The path `::core::compile_error` begins at the place.
                let place = tokens[at.saturating_sub(5)].span().start();
                let text = text.value();
                let first = text.lines().next().unwrap_or_default();
                mistakes.insert((place.line, place.column + 1, first.to_owned()));
            }
            TokenTree::Group(group) => collect(group.stream(), mistakes),
            _ => {}
        }
    }
}

/// Returns what the macros report for a file.
fn reported(path: &Path) -> BTreeSet<Mistake> {
    let (mut expansions, mut mistakes) = (Vec::new(), BTreeSet::new());
    expand(fs::read_to_string(path).expect("a file").parse().expect("balanced brackets"), &mut expansions);
    for expansion in expansions {
        collect(expansion, &mut mistakes);
    }
    mistakes
}

/// Returns the errors in an `.stderr` file that have no code of the compiler.
fn expected(path: &Path) -> BTreeSet<Mistake> {
    let output = fs::read_to_string(path.with_extension("stderr")).expect("a file");
    let mut lines = output.lines();
    let mut mistakes = BTreeSet::new();
    while let Some(line) = lines.next() {
        let Some(text) = line.strip_prefix("error: ") else { continue };
        let Some(place) = lines.by_ref().find_map(|line| line.trim_start().strip_prefix("--> ")) else { break };
        let mut numbers = place.rsplit(':').map(|number| number.parse().expect("a number"));
        let (column, line) = (numbers.next().expect("a column"), numbers.next().expect("a line"));
        mistakes.insert((line, column, text.to_owned()));
    }
    mistakes
}

#[test]
fn each_mistake_is_reported_at_its_place() {
    let files = files("ui");
    assert!(files.len() > 100);
    for path in files {
        let (reported, mut expected) = (reported(&path), expected(&path));
        let is_partial = path.parent().is_some_and(|folder| folder.ends_with("partial"));
        expected.retain(|mistake| {
            let is_of_the_compiler = OF_THE_COMPILER.iter().any(|part| mistake.2.contains(part));
            let is_of_the_macros = !is_of_the_compiler && (!is_partial || mistake.2.contains("incomplete"));
            is_of_the_macros || reported.contains(mistake)
        });
        assert_eq!(reported, expected, "{}", path.display());
    }
}

#[test]
fn no_mistake_is_reported_in_a_form_that_compiles() {
    let files = files("src");
    assert!(files.len() > 10);
    for path in files {
        assert_eq!(reported(&path), BTreeSet::new(), "{}", path.display());
    }
}
