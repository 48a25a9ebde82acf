//! The characters that delimit names and values.

use crate::{
    masking::{is_mask, percent, steps},
    secret::MASK,
};

/// Whether a byte separates the parameters of a URL.
pub(super) fn is_separator(byte: u8) -> bool {
    matches!(byte, b'?' | b'#' | b'&' | b';')
}

/// Whether a byte ends a word, and a URL in text.
pub(super) fn is_edge(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'<' | b'>')
}

/// The index of a kind of quotes, and its closing byte, if this byte opens one.
pub(super) fn closes(quote: u8) -> Option<(usize, u8)> {
    match quote {
        b'"' => Some((0, b'"')),
        b'\'' => Some((1, b'\'')),
        b'{' => Some((2, b'}')),
        _ => None,
    }
}

/// Whether `rest` starts with a name and `=`.
pub(super) fn begins_a_pair(rest: &[u8]) -> bool {
    let is_name = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || byte.is_ascii_whitespace()
            || matches!(byte, b'_' | b'-' | b'.' | b'%' | b'[' | b']')
    };
    let name = rest.iter().take_while(|byte| is_name(byte)).count();
    steps::count(name + 1);
    name > 0 && rest.get(name) == Some(&b'=')
}

/// Whether a value is a mask, or a percent-encoded one.
pub(super) fn is_encoded_mask(value: &str) -> bool {
    const LONGEST: usize = 3 * MASK.len();
    value.len() <= LONGEST && is_mask(&percent::decoded(value))
}
