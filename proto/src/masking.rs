//! Masks secrets in `oauthConnectorDetails`.
//!
//! The text is scanned and never serialised again. Only the content of string values is replaced by
//! [`MASK`]. Everything else stays byte for byte, including keys and numbers. Time and memory are linear in
//! the length of the text, for every text. These rules decide what is replaced:
//!
//! 1. The value of a key that is the name of a secret, at any depth: in lower case, its letters and digits
//!    equal one of [`SECRET_NAMES`]. Pairs such as `{"key": "client_secret", "value": "..."}` count, too, with
//!    the keys in [`PAIR_NAME_KEYS`] and [`PAIR_VALUE_KEYS`].
//! 2. The credential after `Basic ` or `Bearer ` (in any case) in the value of the key `authorization`, or of
//!    such a pair. The scheme itself is kept.
//! 3. In every other string, secrets in URLs, forms and connection strings. `masking/text.rs` has the rules.
//! 4. The submitted client secret, in `authParams`, `accessTokenParams` and under keys that the API does not
//!    name: literal, percent-encoded, or with other line breaks. `masking/search.rs` has the rules.
//!
//! A value of [`PLATFORM_MASKS`] is kept wherever a mask would replace it, and as a whole string everywhere.
//!
//! Not masked: values that are encrypted, or encoded in other ways; secrets in a string that is JSON itself or
//! percent-encoded as a whole, except the submitted secret; arrays, objects and numbers under the name of a
//! secret; keys.

pub(crate) mod json;
mod names;
mod percent;
mod search;
mod steps;
mod text;
mod urls;

use std::ops::Range;

pub use self::names::{AUTHORIZATION, PAIR_NAME_KEYS, PAIR_VALUE_KEYS, SECRET_NAMES};
pub use self::search::SHORTEST_SEARCHED_BYTES;
pub(crate) use self::search::SearchTerms;

use self::{
    json::{Member, Value},
    names::Named,
};
use crate::secret::{ClientSecret, MASK};

/// The masks that other parts of the platform show.
pub const PLATFORM_MASKS: [&str; 2] = ["[Hidden]", "[[HIDDEN]]"];

/// The keys whose values are not searched for the submitted secret: people have to see them unchanged.
const SHOWN_KEYS: [&str; 3] = ["baseURL", "companyId", "clientId"];

/// Masks every secret in `text`, the JSON text of an object with these members. Masking the result again
/// changes nothing.
pub(crate) fn mask(
    text: &str,
    members: &[Member<'_>],
    secret: &ClientSecret,
    client_id: &str,
) -> String {
    let mut scan = Scan {
        text,
        terms: SearchTerms::submitted(secret.expose(), client_id),
        found: Vec::new(),
    };
    scan.members(members, Depth::Top);
    replaced(text, scan.found)
}

/// Whether a JSON text contains these terms anywhere, including keys, numbers and the values that
/// [`mask`] does not search.
pub(crate) fn contains(text: &str, terms: &SearchTerms) -> bool {
    fn inside(text: &str, value: &Value<'_>, terms: &SearchTerms) -> bool {
        match value {
            Value::String(range) => terms.occurs_in(&json::decode(&text[range.clone()]).text),
            Value::Object(members) => members
                .iter()
                .any(|Member { key, value }| terms.occurs_in(key) || inside(text, value, terms)),
            Value::Array(items) => items.iter().any(|item| inside(text, item, terms)),
            Value::Other => false,
        }
    }
    terms.occurs_in(text) || inside(text, &json::read(text), terms)
}

/// Whether a value is [`MASK`] or a mask of the platform.
fn is_mask(value: &str) -> bool {
    value == MASK || PLATFORM_MASKS.contains(&value)
}

/// Decides whether a value is searched for the submitted secret.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// A member of the outermost object. Its key decides.
    Top,
    /// Below one of [`SHOWN_KEYS`]: not searched.
    Shown,
    /// Below another key: searched.
    Searched,
}

struct Scan<'a> {
    text: &'a str,
    terms: Option<SearchTerms>,
    /// The ranges of the text that are replaced, in any order.
    found: Vec<Range<usize>>,
}

impl Scan<'_> {
    fn members(&mut self, members: &[Member<'_>], depth: Depth) {
        let pair = members.iter().map(|member| self.pair_name(member)).max();
        for Member { key, value } in members {
            let depth = match depth {
                Depth::Top if SHOWN_KEYS.contains(&key.as_ref()) => Depth::Shown,
                Depth::Top => Depth::Searched,
                inner => inner,
            };
            let named = match (Named::by(key), pair) {
                (Named::Other, Some(pair)) if names::is_one_of(key, &PAIR_VALUE_KEYS) => pair,
                (named, _) => named,
            };
            match value {
                Value::String(range) => self.string(range, depth, named),
                other => self.value(other, depth),
            }
        }
    }

    /// Classifies the name in a pair such as `{"key": "password", "value": "..."}`, if this member has it.
    fn pair_name(&self, Member { key, value }: &Member<'_>) -> Named {
        match value {
            Value::String(range) if names::is_one_of(key, &PAIR_NAME_KEYS) => {
                Named::by(&json::decode(&self.text[range.clone()]).text)
            }
            _ => Named::Other,
        }
    }

    fn value(&mut self, value: &Value<'_>, depth: Depth) {
        match value {
            Value::String(range) => self.string(range, depth, Named::Other),
            Value::Object(members) => self.members(members, depth),
            Value::Array(items) => items.iter().for_each(|item| self.value(item, depth)),
            Value::Other => {}
        }
    }

    fn string(&mut self, range: &Range<usize>, depth: Depth, named: Named) {
        let decoded = json::decode(&self.text[range.clone()]);
        steps::count(range.len());
        if is_mask(&decoded.text) {
            return;
        }
        if named == Named::Secret {
            self.found.push(range.clone());
            return;
        }
        let terms = self.terms.as_ref().filter(|_| depth == Depth::Searched);
        let submitted = terms.map_or_else(Vec::new, |terms| terms.ranges(&decoded.text));
        // The search by syntax uses the text in which the submitted secret is masked already. So it finds the
        // same when the result is masked again.
        let shown = decoded.with_masks(&submitted);
        let credential = (named == Named::Authorization)
            .then(|| credential(&shown.text))
            .flatten();
        let by_syntax = credential.map_or_else(|| text::secrets(&shown.text), |range| vec![range]);
        let raw = submitted.iter().map(|found| decoded.raw(found));
        let raw = raw.chain(by_syntax.iter().map(|found| shown.raw(found)));
        self.found
            .extend(raw.map(|raw| range.start + raw.start..range.start + raw.end));
    }
}

/// The range of the credential in the value of an `Authorization` header. Empty if it is a mask.
fn credential(value: &str) -> Option<Range<usize>> {
    let start = value.len() - value.trim_ascii_start().len();
    let (scheme, rest) = value[start..].split_once(|c: char| c.is_ascii_whitespace())?;
    let credential = rest.trim_ascii();
    let known = ["basic", "bearer"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known));
    if !known || credential.is_empty() {
        return None;
    }
    let start = value.len() - rest.trim_ascii_start().len();
    Some(
        start..if is_mask(credential) {
            start
        } else {
            start + credential.len()
        },
    )
}

/// The text with each range replaced by the mask. Ranges that overlap get one mask, empty ranges get none.
fn replaced(text: &str, mut ranges: Vec<Range<usize>>) -> String {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| range.start);
    let mut masked = String::with_capacity(text.len() + ranges.len() * MASK.len());
    let mut done = 0;
    let mut ranges = ranges.into_iter().peekable();
    while let Some(mut range) = ranges.next() {
        while let Some(next) = ranges.next_if(|next| next.start < range.end) {
            range.end = range.end.max(next.end);
        }
        masked.push_str(&text[done..range.start]);
        masked.push_str(MASK);
        done = range.end;
    }
    masked.push_str(&text[done..]);
    masked
}

#[cfg(test)]
mod tests;
