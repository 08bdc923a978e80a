//! The name of a kind of game loops: that of its type, without the paths of the type and of its arguments.

use std::collections::BTreeMap;

use parking_lot::RwLock;

/// The kinds of generic types, by the names of these types with their paths. They are kept, so that no message to a
/// loop builds the name again. There is one for each such type of the program.
static KINDS: RwLock<BTreeMap<&'static str, &'static str>> = RwLock::new(BTreeMap::new());

/// Returns the kind of a type whose name with its path is this.
pub(super) fn kind_of(type_name: &'static str) -> &'static str {
    if !type_name.contains('<') {
        return type_name.rsplit("::").next().unwrap_or(type_name);
    }
    if let Some(kind) = KINDS.read().get(type_name) {
        return kind;
    }
    KINDS.write().entry(type_name).or_insert_with(|| without_paths(type_name).leak())
}

/// Returns the name of a type without its path, and without those of its arguments.
fn without_paths(type_name: &str) -> String {
    let mut name = String::with_capacity(type_name.len());
    // Where the path begins that is being read.
    let mut start = 0;
    // Where the paths begin whose arguments are being read.
    let mut outer = Vec::new();
    let mut rest = type_name.chars().peekable();
    while let Some(char) = rest.next() {
        match char {
            ':' if rest.next_if_eq(&':').is_some() => name.truncate(start),
            '<' => {
                outer.push(start);
                name.push(char);
                start = name.len();
            }
            '>' if !name.ends_with('-') => {
                name.push(char);
                start = outer.pop().unwrap_or(name.len());
            }
            _ => {
                name.push(char);
                if char != '_' && !char.is_alphanumeric() {
                    start = name.len();
                }
            }
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_no_paths() {
        let kinds = [
            ("Rally", "Rally"),
            ("game::court::Rally", "Rally"),
            ("game::Board<game::chess::Chess>", "Board<Chess>"),
            ("game::Board<a::Pair<b::X, c::d::Y>, alloc::vec::Vec<e::Z>>", "Board<Pair<X, Y>, Vec<Z>>"),
            ("game::Board<(a::X, [b::Y; 3]), &dyn c::Z, 4>", "Board<(X, [Y; 3]), &dyn Z, 4>"),
            ("game::Board<fn(a::X) -> b::Y, c::Z>", "Board<fn(X) -> Y, Z>"),
            ("<impl game::Game>::play::Board<a::X>", "Board<X>"),
            ("game::Caf\u{e9}<a_1::b_2::X_3>", "Caf\u{e9}<X_3>"),
        ];
        for (type_name, kind) in kinds {
            assert_eq!(kind_of(type_name), kind);
            assert_eq!(kind_of(type_name), kind, "for the second time");
        }
    }
}
