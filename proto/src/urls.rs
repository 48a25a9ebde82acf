//! Finds the secrets that a URL can carry: the password of its user info, and the values of
//! query (or fragment) parameters whose name is a secret's.
//!
//! The rules follow the URL parsers that connectors use rather than the RFC: any number of
//! slashes, backslashes included, may stand before the host of an http URL, and tabs and line
//! ends inside of it are ignored by them.

use std::ops::Range;

use crate::mask::is_secret_name;

/// The places of the secrets in `text`: in the URL that it is, and in those that stand in it.
/// They may overlap, where one URL is a parameter of another.
pub(crate) fn secrets(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let lead = text.len() - text.trim_start_matches(|c: char| c <= ' ').len();
    if let Some(after_scheme) = scheme(&text[lead..]) {
        url(text, lead + after_scheme, text.len(), &mut found);
    } else if text[lead..].starts_with('/') {
        parameters(text, lead, text.len(), &mut found);
    }
    for (at, _) in text.match_indices("://") {
        let end = text[at..]
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>'))
            .map_or(text.len(), |length| at + length);
        url(text, at + 1, end, &mut found);
    }
    found
}

/// The length of `scheme:`, where the text begins with one and something follows that can be
/// an authority, a path or a query.
fn scheme(text: &str) -> Option<usize> {
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
    // `jdbc:postgresql://...` is one URL inside another; its own scheme is found by its `://`.
    (valid && (special || text[colon..].starts_with("://"))).then_some(colon + 1)
}

/// A URL whose scheme ends at `start`.
fn url(text: &str, start: usize, end: usize, found: &mut Vec<Range<usize>>) {
    let authority = start
        + text[start..end]
            .find(|c: char| !matches!(c, '/' | '\\' | '\t' | '\n' | '\r'))
            .unwrap_or(end - start);
    let rest = authority
        + text[authority..end]
            .find(['/', '\\', '?', '#'])
            .unwrap_or(end - authority);
    if let Some(at) = text[authority..rest].rfind('@')
        && let Some(colon) = text[authority..authority + at].find(':')
        && colon + 1 < at
    {
        found.push(authority + colon + 1..authority + at);
    }
    parameters(text, rest, end, found);
}

fn parameters(text: &str, start: usize, end: usize, found: &mut Vec<Range<usize>>) {
    let Some(query) = text[start..end].find(['?', '#']) else {
        return;
    };
    let mut at = start + query + 1;
    for pair in text[at..end].split(['&', ';', '#', '?']) {
        if let Some(equals) = pair.find('=')
            && equals + 1 < pair.len()
            && is_secret_name(&percent_decoded(&pair[..equals]))
        {
            found.push(at + equals + 1..at + pair.len());
        }
        at += pair.len() + 1;
    }
}

fn percent_decoded(name: &str) -> String {
    let bytes = name.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let code = (byte == b'%')
            .then(|| name.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(code.unwrap_or(byte));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::secrets;

    fn found(text: &str) -> Vec<&str> {
        let mut places = secrets(text);
        places.sort_by_key(|place| place.start);
        places.dedup();
        places.into_iter().map(|place| &text[place]).collect()
    }

    #[test]
    fn the_password_of_the_user_info_is_found() {
        assert_eq!(found("https://user:pw@host/path"), ["pw"]);
        assert_eq!(found(r"https:\\user:pw@host"), ["pw"]);
        assert_eq!(found("HTTP:user:pw@host"), ["pw"]);
        assert_eq!(found("https://user:p@ss:w@host"), ["p@ss:w"]);
        assert_eq!(found("jdbc:postgresql://user:pw@host/db"), ["pw"]);
        assert_eq!(found("see amqp://user:pw@host and mail me@there"), ["pw"]);
        assert_eq!(found("https://host/?next=https://u:pw@host"), ["pw"]);
        assert_eq!(found("https://host/a:b@c"), Vec::<&str>::new());
        assert_eq!(found("urn:user:pw@host"), Vec::<&str>::new());
        assert_eq!(found("https://user:@host"), Vec::<&str>::new());
    }

    #[test]
    fn parameters_are_found_by_their_decoded_name() {
        assert_eq!(found("https://host?client_secret=a&b=c"), ["a"]);
        assert_eq!(
            found("https://host/?x=1&Client%2DSecret=a;api-key=b#id_token=c"),
            ["a", "b", "c"]
        );
        assert_eq!(found("/token?access_token=a"), ["a"]);
        assert_eq!(
            found("https://host?token_type=bearer&secret="),
            Vec::<&str>::new()
        );
    }
}
