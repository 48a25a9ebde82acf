//! What is masked inside `oauthConnectorDetails`.
//!
//! The text is scanned, never reserialised: only the content of string values is replaced, by
//! [`MASK`], and everything around them stays byte for byte, keys and numbers too. Work and memory
//! are linear in the text, whatever stands in it. These rules find what to replace:
//!
//! 1. The value of a key whose name is a secret's ([`SECRET_NAMES`]; lower-cased, letters and
//!    digits only, it is exactly one of the list), at any depth. The same of pairs such as
//!    `{"key": "client_secret", "value": "..."}`, with the keys in [`PAIR_NAME_KEYS`] and
//!    [`PAIR_VALUE_KEYS`].
//! 2. What follows `Basic ` or `Bearer ` (any case) in the value of the key `authorization`, or of
//!    such a pair. The word before it stays.
//! 3. In every other string, what is a secret by the syntax of URLs, forms and connection strings;
//!    see `mask/text.rs` for the rules.
//! 4. The submitted client secret, in `authParams`, `accessTokenParams` and under keys that the API
//!    does not name: as it is, percent-encoded, and with other line ends; see `mask/sought.rs`.
//!
//! A value that is one of [`PLATFORM_MASKS`] stays wherever a mask would be put, and as a whole
//! string everywhere.
//!
//! Not covered: values that are encoded in other ways, or encrypted; what stands in a string that
//! is JSON, or percent-encoded as a whole, but for the submitted secret; secrets in arrays, objects
//! or numbers under a secret's name; keys.

pub(crate) mod json;
mod names;
mod percent;
mod sought;
mod steps;
mod text;
mod urls;

use std::ops::Range;

pub use names::{AUTHORIZATION, PAIR_NAME_KEYS, PAIR_VALUE_KEYS, SECRET_NAMES};
pub use sought::SHORTEST_SEARCHED_BYTES;

use names::Named;
pub(crate) use sought::Sought;

use self::json::{Member, Value};
use crate::secret::{ClientSecret, MASK};

/// The masks that the platform itself shows elsewhere.
pub const PLATFORM_MASKS: [&str; 2] = ["[Hidden]", "[[HIDDEN]]"];

/// The keys whose value is never searched for the submitted secret: they are shown to people as
/// they were typed.
const SHOWN_KEYS: [&str; 3] = ["baseURL", "companyId", "clientId"];

/// Masks every secret in `text`, the JSON text of an object with these members. Masking twice is
/// masking once.
pub(crate) fn mask(
    text: &str,
    members: &[Member<'_>],
    secret: &ClientSecret,
    client_id: &str,
) -> String {
    let mut scan = Scan {
        text,
        sought: Sought::submitted(secret.expose(), client_id),
        found: Vec::new(),
    };
    scan.members(members, Depth::Top);
    replaced(text, scan.found)
}

/// Whether a text that was looked for stands anywhere in a JSON text: keys, numbers and what is
/// shown to people included.
pub(crate) fn holds(text: &str, sought: &Sought) -> bool {
    fn inside(text: &str, value: &Value<'_>, sought: &Sought) -> bool {
        match value {
            Value::String(place) => sought.stands_in(&json::decode(&text[place.clone()]).text),
            Value::Object(members) => members
                .iter()
                .any(|Member { key, value }| sought.stands_in(key) || inside(text, value, sought)),
            Value::Array(items) => items.iter().any(|item| inside(text, item, sought)),
            Value::Other => false,
        }
    }
    sought.stands_in(text) || inside(text, &json::read(text), sought)
}

/// Whether a value is a mask, ours or the platform's.
fn is_mask(value: &str) -> bool {
    value == MASK || PLATFORM_MASKS.contains(&value)
}

/// Where a value stands decides whether the submitted secret is looked for in it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Top,
    Shown,
    Searched,
}

struct Scan<'a> {
    text: &'a str,
    sought: Option<Sought>,
    found: Vec<Range<usize>>,
}

impl Scan<'_> {
    fn members(&mut self, members: &[Member<'_>], depth: Depth) {
        let pair = members.iter().map(|member| self.first_half(member)).max();
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
                Value::String(place) => self.string(place, depth, named),
                other => self.value(other, depth),
            }
        }
    }

    /// What the first half of a pair such as `{"key": "password", "value": "..."}` says of the
    /// second.
    fn first_half(&self, Member { key, value }: &Member<'_>) -> Named {
        match value {
            Value::String(place) if names::is_one_of(key, &PAIR_NAME_KEYS) => {
                Named::by(&json::decode(&self.text[place.clone()]).text)
            }
            _ => Named::Other,
        }
    }

    fn value(&mut self, value: &Value<'_>, depth: Depth) {
        match value {
            Value::String(place) => self.string(place, depth, Named::Other),
            Value::Object(members) => self.members(members, depth),
            Value::Array(items) => items.iter().for_each(|item| self.value(item, depth)),
            Value::Other => {}
        }
    }

    fn string(&mut self, place: &Range<usize>, depth: Depth, named: Named) {
        let decoded = json::decode(&self.text[place.clone()]);
        steps::count(place.len());
        if is_mask(&decoded.text) {
            return;
        }
        if named == Named::Secret {
            self.found.push(place.clone());
            return;
        }
        let sought = self.sought.as_ref().filter(|_| depth == Depth::Searched);
        let submitted = sought.map_or_else(Vec::new, |sought| sought.places(&decoded.text));
        // What is found by syntax has to be the same when the masked text is masked again.
        let shown = decoded.with_masks(&submitted);
        let credential = (named == Named::Authorization)
            .then(|| credential(&shown.text))
            .flatten();
        let by_syntax = credential.map_or_else(|| text::secrets(&shown.text), |place| vec![place]);
        let raw = submitted.iter().map(|found| decoded.raw(found));
        let raw = raw.chain(by_syntax.iter().map(|found| shown.raw(found)));
        self.found
            .extend(raw.map(|raw| place.start + raw.start..place.start + raw.end));
    }
}

/// What follows the scheme in the value of an `Authorization` header, unless it is a mask.
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

/// The text with each place replaced by the mask. Places that overlap become one, empty ones none.
fn replaced(text: &str, mut places: Vec<Range<usize>>) -> String {
    places.retain(|place| !place.is_empty());
    places.sort_by_key(|place| place.start);
    let mut masked = String::with_capacity(text.len() + places.len() * MASK.len());
    let mut done = 0;
    let mut places = places.into_iter().peekable();
    while let Some(mut place) = places.next() {
        while let Some(next) = places.next_if(|next| next.start < place.end) {
            place.end = place.end.max(next.end);
        }
        masked.push_str(&text[done..place.start]);
        masked.push_str(MASK);
        done = place.end;
    }
    masked.push_str(&text[done..]);
    masked
}

#[cfg(test)]
mod tests;
