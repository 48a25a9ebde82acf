//! Recognises the start of a URL.
//!
//! The rules follow the URL parsers that connectors use, not the RFC. These parsers accept any number of slashes
//! and backslashes before the host of an http URL, and ignore tabs and line breaks in it.

/// The length of `scheme:` at the start of a text, if the scheme is one of the web or `//` follows.
pub(crate) fn scheme(text: &str) -> Option<usize> {
    let colon = text.find(':')?;
    let name = &text[..colon];
    let valid = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| {
            c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '\t' | '\n' | '\r')
        });
    let plain: String = name.chars().filter(|c| !c.is_control()).collect();
    let special = ["http", "https", "ws", "wss", "ftp"]
        .iter()
        .any(|special| plain.eq_ignore_ascii_case(special));
    // `spring:postgresql://...` has a URL inside of another. The inner scheme is found by its `://`.
    (valid && (special || text[colon..].starts_with("://"))).then_some(colon + 1)
}

/// Whether a text is the connection string of a JDBC driver.
pub(crate) fn is_jdbc(text: &str) -> bool {
    text.get(..5)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("jdbc:"))
}
