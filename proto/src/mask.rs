//! What is masked inside `oauthConnectorDetails`.
//!
//! The text is scanned, never reserialised: only the content of string values is replaced, by
//! [`MASK`], and everything around them stays byte for byte. Three rules find what to replace:
//!
//! 1. the value of a key whose name is a secret's ([`SECRET_NAMES`]), at any depth, and the
//!    `value` of a pair such as `{"key": "client_secret", "value": "..."}`;
//! 2. in URLs, the password of the user info and parameters of those names;
//! 3. the submitted client secret itself, in `authParams`, `accessTokenParams` and under keys
//!    that the API does not name.
//!
//! Not covered: values that are encoded or encrypted, and secrets in arrays, objects or numbers
//! under a secret's name.

use std::ops::Range;

use crate::{
    json::{self, Member, Value},
    secret::{ClientSecret, MASK},
    urls,
};

/// Names of secrets, as they are compared: lower-cased, letters and digits only.
pub const SECRET_NAMES: [&str; 10] = [
    "clientsecret",
    "secret",
    "password",
    "passwd",
    "privatekey",
    "clientassertion",
    "accesstoken",
    "refreshtoken",
    "idtoken",
    "apikey",
];

/// The keys whose value is never searched for the submitted secret: they are shown to people as
/// they were typed.
const SHOWN_KEYS: [&str; 3] = ["baseURL", "companyId", "clientId"];

/// A shorter secret would be found by accident: one of `A` must not eat half of the details.
pub const SHORTEST_SEARCHED_BYTES: usize = 8;

/// Whether a key names a secret: lower-cased, letters and digits only, it is exactly one of the
/// list. So `client_secret` and `Client-Secret` are, `accessTokenParams` and `tokenType` are not.
pub(crate) fn is_secret_name(key: &str) -> bool {
    SECRET_NAMES.iter().any(|name| is(key, name))
}

/// Whether a key is this name, lower-cased, letters and digits only.
fn is(key: &str, name: &str) -> bool {
    key.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .eq(name.chars())
}

/// Masks every secret in `text`, the JSON text of an object with these members. Masking twice is
/// masking once.
pub(crate) fn mask(
    text: &str,
    members: &[Member<'_>],
    secret: &ClientSecret,
    client_id: &str,
) -> String {
    let sought = secret.expose();
    let sought = (sought.len() >= SHORTEST_SEARCHED_BYTES && sought != MASK && sought != client_id)
        .then_some(sought);
    let mut scan = Scan {
        text,
        sought,
        found: Vec::new(),
    };
    scan.members(members, Depth::Top);
    replaced(text, scan.found)
}

/// Where a value stands decides whether the submitted secret is looked for in it.
#[derive(Clone, Copy)]
enum Depth {
    Top,
    Shown,
    Searched,
}

struct Scan<'a> {
    text: &'a str,
    sought: Option<&'a str>,
    found: Vec<Range<usize>>,
}

impl Scan<'_> {
    fn members(&mut self, members: &[Member<'_>], depth: Depth) {
        let names_a_secret = members.iter().any(|member| self.names_a_secret(member));
        for Member { key, value } in members {
            let depth = match depth {
                Depth::Top if SHOWN_KEYS.contains(&key.as_ref()) => Depth::Shown,
                Depth::Top => Depth::Searched,
                inner => inner,
            };
            match value {
                Value::String(place)
                    if is_secret_name(key) || (names_a_secret && is(key, "value")) =>
                {
                    self.found.push(place.clone());
                }
                other => self.value(other, depth),
            }
        }
    }

    /// Whether a member is the first half of a pair such as `{"key": "password", "value": "..."}`.
    fn names_a_secret(&self, Member { key, value }: &Member<'_>) -> bool {
        (is(key, "key") || is(key, "name"))
            && matches!(value, Value::String(place)
                if is_secret_name(&json::decode(&self.text[place.clone()]).text))
    }

    fn value(&mut self, value: &Value<'_>, depth: Depth) {
        match value {
            Value::String(place) => self.string(place, depth),
            Value::Object(members) => self.members(members, depth),
            Value::Array(items) => items.iter().for_each(|item| self.value(item, depth)),
            Value::Other => {}
        }
    }

    fn string(&mut self, place: &Range<usize>, depth: Depth) {
        let decoded = json::decode(&self.text[place.clone()]);
        let mut inside = urls::secrets(&decoded.text);
        if let (Some(sought), Depth::Searched) = (self.sought, depth) {
            inside.extend(occurrences(&decoded.text, sought));
        }
        self.found.extend(inside.iter().map(|found| {
            let raw = decoded.raw(found);
            place.start + raw.start..place.start + raw.end
        }));
    }
}

/// Where `sought` stands. An occurrence that touches a mask is none: a mask that grew another
/// mask at its edge would make masking twice differ from masking once.
fn occurrences(text: &str, sought: &str) -> Vec<Range<usize>> {
    if sought.contains(MASK) {
        return places(text, sought).collect();
    }
    let mut found = Vec::new();
    let mut start = 0;
    for segment in text.split(MASK) {
        found.extend(places(segment, sought).map(|place| start + place.start..start + place.end));
        start += segment.len() + MASK.len();
    }
    found
}

fn places(text: &str, sought: &str) -> impl Iterator<Item = Range<usize>> {
    text.match_indices(sought)
        .map(|(at, matched)| at..at + matched.len())
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
