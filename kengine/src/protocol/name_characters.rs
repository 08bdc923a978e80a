//! Characters that a name must not contain.

/// Whether a character is not allowed in uids and in the names of rooms, because it is invisible and changes what a
/// reader sees: a control character (Unicode category Cc), a line or paragraph separator (Zl, Zp), or a bidirectional
/// control, which reorders the text around it (the property `Bidi_Control`; UAX #9, section 2).
pub(crate) fn is_forbidden_in_names(char: char) -> bool {
    const BIDI_MARKS: [char; 3] = ['\u{61c}', '\u{200e}', '\u{200f}'];
    // The separators are U+2028 and U+2029; the embeddings and overrides U+202A–U+202E follow them.
    char.is_control() || BIDI_MARKS.contains(&char) || matches!(char, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
