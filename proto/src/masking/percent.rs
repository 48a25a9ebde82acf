//! Resolves percent-encoding: `%` and two hex digits of either case. Other uses of `%` are kept.

use std::borrow::Cow;

/// The byte that an escape at the start of `bytes` means. An escape has three bytes.
pub(super) fn escape(bytes: &[u8]) -> Option<u8> {
    match bytes {
        [b'%', high, low, ..] => Some(hex(*high)? * 16 + hex(*low)?),
        _ => None,
    }
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// A text with its escapes resolved. Bytes that are not UTF-8 become U+FFFD.
pub(super) fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return text.into();
    }
    let mut rest = text.as_bytes();
    let mut decoded = Vec::with_capacity(rest.len());
    while let Some(&byte) = rest.first() {
        let code = escape(rest);
        decoded.push(code.unwrap_or(byte));
        rest = &rest[if code.is_some() { 3 } else { 1 }..];
    }
    String::from_utf8_lossy(&decoded).into_owned().into()
}

#[cfg(test)]
mod tests {
    #[test]
    fn escapes_are_resolved_and_other_text_is_kept() {
        for (text, expected) in [
            ("client%5fsecret", "client_secret"),
            ("a%5Fb%5f", "a_b_"),
            ("100%", "100%"),
            ("%+1%4g%", "%+1%4g%"),
            ("%C3%A9", "é"),
            ("%ff", "\u{fffd}"),
        ] {
            assert_eq!(crate::masking::percent::decoded(text), expected);
        }
    }
}
