//! One word for one thing: no two types of a crate have the same name.

use std::{collections::BTreeMap, fs, path::Path};

use syn::Item;

#[test]
fn no_two_types_of_a_crate_have_the_same_name() {
    for krate in ["kengine", "kengine-macros"] {
        let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(krate).join("src"), &mut places);
        assert!(places.len() > 20, "only {} types were found in {krate}", places.len());
        places.retain(|_, files| files.len() > 1);
        assert!(places.is_empty(), "types of {krate} with the same name: {places:#?}");
    }
}

/// Collects the types at the top level of each source file.
fn collect(folder: &Path, places: &mut BTreeMap<String, Vec<String>>) {
    for entry in fs::read_dir(folder).expect("the sources can be listed") {
        let path = entry.expect("the sources can be listed").path();
        if path.is_dir() {
            collect(&path, places);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file can be read");
            let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            for ident in file.items.iter().filter_map(type_name) {
                places.entry(ident.to_string()).or_default().push(path.display().to_string());
            }
        }
    }
}

fn type_name(item: &Item) -> Option<&proc_macro2::Ident> {
    match item {
        Item::Struct(item) => Some(&item.ident),
        Item::Enum(item) => Some(&item.ident),
        Item::Trait(item) => Some(&item.ident),
        Item::Type(item) => Some(&item.ident),
        _ => None,
    }
}
