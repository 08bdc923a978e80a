//! The layers of the sources: no cycle of imports between files, and no import from a higher layer.
//!
//! syn reads the imports from the sources; each is resolved, through re-exports, to the file that defines its target.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt, fs,
    path::{Path, PathBuf},
};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, Item, UseTree};

/// The folders of `kengine/src` in the order of `guide::architecture`: each imports only from those before it.
const LAYERS: [&str; 11] = [
    "websocket",
    "protocol",
    "http",
    "node_state",
    "cluster",
    "node",
    "handles",
    "dispatch",
    "connection",
    "server",
    "testing",
];

/// The path of a module or an item from the crate root: `["node_state", "outbox"]`.
type ModPath = Vec<String>;

/// What one file defines and imports.
#[derive(Default)]
struct SourceFile {
    path: PathBuf,
    /// The line of each item that the file defines.
    items: HashMap<String, usize>,
    imports: Vec<Import>,
}

#[derive(Clone)]
struct Import {
    target: ModPath,
    /// The local name of the target, if the import is a `use`.
    name: Option<String>,
    line: usize,
}

/// An import, resolved to the file that defines its target.
#[derive(Clone)]
struct Arrow {
    from: String,
    to: String,
    text: String,
}

impl fmt::Display for Arrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The sources of one crate.
struct Sources {
    files: BTreeMap<ModPath, SourceFile>,
}

impl Sources {
    fn read(krate: &str) -> Self {
        let mut sources = Self { files: BTreeMap::new() };
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(krate).join("src");
        sources.read_folder(&root, &[]);
        for file in sources.files.values_mut() {
            let inside = file.path.strip_prefix(&root).expect("a file in the folder");
            file.path = Path::new(krate).join("src").join(inside);
        }
        assert!(sources.files.len() > 5, "no sources in {}", root.display());
        sources
    }

    fn read_folder(&mut self, folder: &Path, module: &[String]) {
        for entry in fs::read_dir(folder).expect("the sources can be listed") {
            let path = entry.expect("the sources can be listed").path();
            let name = path.file_stem().expect("a name").to_str().expect("a name in UTF-8").to_owned();
            let mut own = module.to_vec();
            if path.is_dir() {
                own.push(name);
                self.read_folder(&path, &own);
            } else if path.extension().is_some_and(|extension| extension == "rs") && name != "tests" {
                if name != "mod" && name != "lib" {
                    own.push(name);
                }
                let text = fs::read_to_string(&path).expect("a source file can be read");
                self.files.insert(own.clone(), SourceFile::parse(path, &text, &own));
            }
        }
    }

    /// Returns the module in whose file the target is defined.
    fn home(&self, target: &[String], depth: usize) -> Option<&ModPath> {
        let len = (0..=target.len()).rev().find(|len| self.files.contains_key(&target[..*len]))?;
        let (module, file) = self.files.get_key_value(&target[..len])?;
        let Some(item) = target.get(len) else { return Some(module) };
        if depth == 0 || file.items.contains_key(item) {
            return Some(module);
        }
        let reexport = file.imports.iter().find(|import| import.name.as_ref() == Some(item));
        reexport.map_or(Some(module), |import| self.home(&import.target, depth - 1))
    }

    /// Returns all imports from one file by another, without those of the crate root.
    fn arrows(&self) -> Vec<Arrow> {
        let mut arrows = Vec::new();
        for (module, file) in self.files.iter().filter(|(module, _)| !module.is_empty()) {
            for import in &file.imports {
                let Some(home) = self.home(&import.target, 8).filter(|home| *home != module) else {
                    continue;
                };
                let item = import.target.last().expect("a name");
                let defined = self.files[home].items.get(item).copied().unwrap_or(1);
                let text = format!(
                    "{}:{} imports `{}` of {}:{defined}",
                    file.path.display(),
                    import.line,
                    import.target.join("::"),
                    self.files[home].path.display(),
                );
                arrows.push(Arrow { from: module.join("::"), to: home.join("::"), text });
            }
        }
        arrows
    }
}

impl SourceFile {
    fn parse(path: PathBuf, text: &str, module: &[String]) -> Self {
        let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut file = Self { path, ..Self::default() };
        for item in parsed.items.iter().filter(|item| !is_test(attributes(item))) {
            if let Item::Use(item) = item {
                file.add_use(&item.tree, &[], module);
            } else {
                if let Some(ident) = ident(item) {
                    file.items.insert(ident.to_string(), ident.span().start().line);
                }
                file.add_inline_paths(item.to_token_stream(), module);
            }
        }
        file
    }

    fn add_use(&mut self, tree: &UseTree, before: &[String], module: &[String]) {
        match tree {
            UseTree::Path(path) => {
                let before = [before, &[path.ident.to_string()]].concat();
                self.add_use(&path.tree, &before, module);
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.add_use(tree, before, module));
            }
            UseTree::Name(name) if name.ident == "self" => {
                self.add(before, before.last().cloned(), name.ident.span().start().line, module);
            }
            UseTree::Name(name) => {
                let path = [before, &[name.ident.to_string()]].concat();
                self.add(&path, Some(name.ident.to_string()), name.ident.span().start().line, module);
            }
            UseTree::Rename(rename) => {
                let path = [before, &[rename.ident.to_string()]].concat();
                let line = rename.ident.span().start().line;
                self.add(&path, Some(rename.rename.to_string()), line, module);
            }
            UseTree::Glob(glob) => {
                self.add(before, None, glob.star_token.spans[0].start().line, module);
            }
        }
    }

    /// Adds paths in code, such as `crate::node_state::outbox::Outbox` and `super::Node`.
    fn add_inline_paths(&mut self, tokens: TokenStream, module: &[String]) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => self.add_inline_paths(group.stream(), module),
                TokenTree::Ident(ident) if *ident == "crate" || *ident == "super" => {
                    let line = ident.span().start().line;
                    let mut path = vec![ident.to_string()];
                    while let [TokenTree::Punct(one), TokenTree::Punct(two), TokenTree::Ident(next), ..] =
                        &tokens[at + 1..]
                        && one.as_char() == ':'
                        && two.as_char() == ':'
                    {
                        path.push(next.to_string());
                        at += 3;
                    }
                    if let [TokenTree::Punct(one), TokenTree::Punct(two), TokenTree::Group(group), ..] =
                        &tokens[at + 1..]
                        && one.as_char() == ':'
                        && two.as_char() == ':'
                    {
                        // This is a `use` with braces inside a function.
                        let tree = syn::parse2(group.to_token_stream()).expect("imports");
                        self.add_use(&tree, &path, module);
                    } else if path.len() > 1 {
                        self.add(&path, None, line, module);
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }

    fn add(&mut self, path: &[String], name: Option<String>, line: usize, module: &[String]) {
        let mut target = match path[0].as_str() {
            "crate" => Vec::new(),
            "self" | "super" => module.to_vec(),
            _ => return,
        };
        for segment in path {
            match segment.as_str() {
                "crate" | "self" => {}
                "super" => _ = target.pop(),
                segment => target.push(segment.to_owned()),
            }
        }
        self.imports.push(Import { target, name, line });
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn ident(item: &Item) -> Option<&proc_macro2::Ident> {
    Some(match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        _ => return None,
    })
}

fn is_test(attributes: &[Attribute]) -> bool {
    let is_cfg_test = |attribute: &Attribute| {
        attribute.path().is_ident("cfg") && attribute.to_token_stream().to_string().contains("(test)")
    };
    attributes.iter().any(is_cfg_test)
}

/// Returns the arrows of a cycle, if there is one.
fn cycle(arrows: &[Arrow]) -> Option<Vec<&Arrow>> {
    let mut outgoing: BTreeMap<&str, Vec<&Arrow>> = BTreeMap::new();
    for arrow in arrows {
        outgoing.entry(&arrow.from).or_default().push(arrow);
    }
    let mut done = BTreeSet::new();
    outgoing.keys().find_map(|start| search(start, &outgoing, &mut Vec::new(), &mut done))
}

/// Searches depth-first for an arrow that leads back to a file on the current path.
fn search<'a>(
    file: &'a str,
    outgoing: &BTreeMap<&'a str, Vec<&'a Arrow>>,
    way: &mut Vec<&'a Arrow>,
    done: &mut BTreeSet<&'a str>,
) -> Option<Vec<&'a Arrow>> {
    if done.contains(file) {
        return None;
    }
    for arrow in outgoing.get(file).into_iter().flatten() {
        way.push(arrow);
        if let Some(start) = way.iter().position(|before| before.from == arrow.to) {
            return Some(way[start..].to_vec());
        }
        if let Some(found) = search(&arrow.to, outgoing, way, done) {
            return Some(found);
        }
        way.pop();
    }
    done.insert(file);
    None
}

/// Returns the imports that run up the layers or go through the crate root.
fn upward(arrows: &[Arrow]) -> Vec<&Arrow> {
    let layer = |module: &str| {
        let folder = module.split("::").next().unwrap_or_default();
        LAYERS.iter().position(|layer| *layer == folder)
    };
    let runs_up = |arrow: &&Arrow| match (layer(&arrow.from), layer(&arrow.to)) {
        (Some(from), Some(to)) => from < to,
        // One side is the crate root, or in a folder that has no layer.
        _ => true,
    };
    arrows.iter().filter(runs_up).collect()
}

fn shown(arrows: &[&Arrow]) -> String {
    arrows.iter().flat_map(|arrow| ["\n  ".to_owned(), arrow.to_string()]).collect()
}

#[test]
fn no_files_import_each_other_in_a_cycle() {
    for krate in ["kengine", "kengine-macros"] {
        let arrows = Sources::read(krate).arrows();
        assert!(arrows.len() > 20, "only {} imports were found in {krate}", arrows.len());
        if let Some(cycle) = cycle(&arrows) {
            panic!("files of {krate} import each other in a cycle:{}", shown(&cycle));
        }
    }
}

#[test]
fn no_import_runs_up_the_layers() {
    let arrows = Sources::read("kengine").arrows();
    let upward = upward(&arrows);
    assert!(
        upward.is_empty(),
        "imports run up the layers {}, or go through the crate root:{}",
        LAYERS.join(" < "),
        shown(&upward)
    );
}

#[test]
fn the_root_has_only_the_layers() {
    let entries = fs::read_dir(crate::workspace().join("kengine/src")).expect("the sources");
    let mut entries: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().unwrap()).collect();
    let mut expected = vec!["lib.rs"];
    expected.extend(LAYERS);
    entries.sort_unstable();
    expected.sort_unstable();
    assert_eq!(entries, expected);
}

#[test]
fn the_guide_lists_the_layers_in_this_order() {
    let guide = include_str!("../../../kengine/docs/architecture.md");
    let places = LAYERS.map(|layer| {
        let name = format!("`{layer}/`");
        guide.find(&name).unwrap_or_else(|| panic!("`guide::architecture` does not mention {name}"))
    });
    assert!(places.is_sorted(), "`guide::architecture` lists the layers in another order: {places:?}");
}

/// Returns sources that consist of these files.
fn planted(files: &[(&[&str], &str)]) -> Sources {
    let files = files.iter().map(|(module, text)| {
        let module: ModPath = module.iter().map(|segment| (*segment).to_owned()).collect();
        let path = PathBuf::from(module.join("/"));
        let file = SourceFile::parse(path, text, &module);
        (module, file)
    });
    Sources { files: files.collect() }
}

#[test]
fn a_planted_cycle_is_found_through_a_reexport() {
    let arrows = planted(&[
        (&["node_state"], "mod outbox;\npub use self::outbox::Outbox;"),
        (&["node_state", "outbox"], "use crate::node_state::users::Users;\npub struct Outbox;"),
        (&["node_state", "users"], "pub struct Users;\nfn f(_: crate::node_state::Outbox) {}"),
    ])
    .arrows();
    let cycle = cycle(&arrows).expect("a cycle");
    assert_eq!(
        shown(&cycle),
        "\n  node_state/outbox:1 imports `node_state::users::Users` of node_state/users:1\
         \n  node_state/users:2 imports `node_state::Outbox` of node_state/outbox:2"
    );
}

#[test]
fn a_planted_import_up_the_layers_is_found() {
    let arrows = planted(&[
        (&["node_state", "users"], "use crate::{\n    node::Node,\n    websocket::close::Close,\n};"),
        (&["node"], "pub struct Node;"),
        (&["websocket", "close"], "#[cfg(test)]\nuse crate::node::Node;\npub struct Close;"),
    ])
    .arrows();
    assert_eq!(shown(&upward(&arrows)), "\n  node_state/users:2 imports `node::Node` of node:1");
}
