//! How URLs begin.
//!
//! The rules follow the URL parsers that connectors use rather than the RFC: any number of
//! slashes, backslashes included, may stand before the host of an http URL, and tabs and line
//! ends inside of it are ignored by them.

/// The length of `scheme:`, where the text begins with one and something follows that can be
/// an authority, a path or a query.
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
    // `spring:postgresql://...` is one URL inside another; its own scheme is found by its `://`.
    (valid && (special || text[colon..].starts_with("://"))).then_some(colon + 1)
}

/// Whether a text is the connection string of a JDBC driver.
pub(crate) fn is_jdbc(text: &str) -> bool {
    text.get(..5)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("jdbc:"))
}
