//! Validates the text of the details.

use url::Url;

use crate::masking::json::{self, Member, Value};

/// The longest text, in bytes, both before and after masking.
pub const MAX_BYTES: usize = 64 * 1024;
/// The deepest nesting of objects and arrays, including the outermost object.
pub const MAX_DEPTH: usize = 32;

/// A rule that the text breaks. With a key, the value under this key breaks it.
pub(super) struct Broken {
    pub key: Option<&'static str>,
    pub rule: &'static str,
}

/// Validates a text, and returns the members of its object.
pub(super) fn check(text: &str) -> Result<Vec<Member<'_>>, Vec<Broken>> {
    let whole = |rule| Err(vec![Broken { key: None, rule }]);
    if text.trim().is_empty() {
        return whole("must not be empty or blank");
    }
    if text.len() > MAX_BYTES {
        return whole("must be at most 65536 bytes of UTF-8");
    }
    if json::depth(text) > MAX_DEPTH {
        return whole("must not be nested more than 32 deep");
    }
    if serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
        return whole("must be valid JSON");
    }
    let Value::Object(members) = json::read(text) else {
        return whole("must be a JSON object");
    };
    let mut broken: Vec<Broken> = Vec::new();
    for (key, rule) in members
        .iter()
        .filter_map(|member| named_key(text, &member.key, &member.value))
    {
        // Report a rule once: a text may repeat the same key thousands of times.
        if broken.iter().all(|known| known.rule != rule) {
            let key = Some(key);
            broken.push(Broken { key, rule });
        }
    }
    if broken.is_empty() {
        Ok(members)
    } else {
        Err(broken)
    }
}

/// The rule that a member breaks, if its key is one of the five that have a rule.
fn named_key(text: &str, key: &str, value: &Value<'_>) -> Option<(&'static str, &'static str)> {
    let (key, rule) = match (key, value) {
        ("baseURL", Value::String(range)) => {
            // Most connector types have no base URL, and their page sends an empty string.
            if range.is_empty() || is_web_url(&json::decode(&text[range.clone()]).text) {
                return None;
            }
            (
                "baseURL",
                "must hold an absolute http or https URL, or an empty string, as its baseURL",
            )
        }
        ("companyId" | "clientId", Value::String(_))
        | ("authParams" | "accessTokenParams", Value::Object(_)) => return None,
        ("baseURL", _) => ("baseURL", "must hold a string as its baseURL"),
        ("companyId", _) => ("companyId", "must hold a string as its companyId"),
        ("clientId", _) => ("clientId", "must hold a string as its clientId"),
        ("authParams", _) => ("authParams", "must hold an object as its authParams"),
        ("accessTokenParams", _) => (
            "accessTokenParams",
            "must hold an object as its accessTokenParams",
        ),
        _ => return None,
    };
    Some((key, rule))
}

/// Whether a text is an absolute http or https URL. It is stricter than the parser, which also accepts
/// `https:host` and white space.
fn is_web_url(text: &str) -> bool {
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    ["http", "https"]
        .iter()
        .any(|web| scheme.eq_ignore_ascii_case(web))
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
        && Url::parse(text).is_ok_and(|url| url.has_host())
}
