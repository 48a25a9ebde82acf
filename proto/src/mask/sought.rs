//! Where the submitted client secret stands in a text, whatever form it has there.
//!
//! Two searches, each linear in the text for every secret, overlapping occurrences included
//! (Knuth, Morris and Pratt):
//!
//! 1. as it is, with `\r\n` and `\n` taken for the same;
//! 2. percent-encoded: any of its bytes, in hex digits of either case, and with `+` for a space.
//!    Here `+` and a space are taken for the same.
//!
//! The second search looks only at what lies between the finds of the first, and neither looks
//! into a mask. So what is left between two masks holds no occurrence when it is looked at alone,
//! and masking twice is masking once.

use std::ops::Range;

use secrecy::zeroize::Zeroizing;

use super::{PLATFORM_MASKS, percent, steps};
use crate::secret::MASK;

/// A shorter secret would be found by accident: one of `A` must not eat half of the details.
pub const SHORTEST_SEARCHED_BYTES: usize = 8;

/// A secret, prepared for being looked for.
pub(crate) struct Sought {
    literal: Needle,
    encoded: Needle,
}

impl Sought {
    /// The submitted secret without white space at its ends. None where it is shorter than
    /// [`SHORTEST_SEARCHED_BYTES`], a mask, or the client id. Of a secret that holds the mask, the
    /// longest part beside the mask.
    pub(crate) fn submitted(secret: &str, client_id: &str) -> Option<Self> {
        Self::of(secret, client_id, SHORTEST_SEARCHED_BYTES)
    }

    /// The same of a text of any length.
    pub(crate) fn any_length(secret: &str, client_id: &str) -> Option<Self> {
        Self::of(secret, client_id, 1)
    }

    fn of(secret: &str, client_id: &str, shortest: usize) -> Option<Self> {
        let secret = secret.trim();
        if PLATFORM_MASKS.contains(&secret) || secret == client_id.trim() {
            return None;
        }
        let parts = secret.split(MASK).map(str::trim);
        let longest = parts.max_by_key(|part| part.len())?;
        (longest.len() >= shortest).then(|| Self {
            literal: Needle::new(longest, false),
            encoded: Needle::new(longest, true),
        })
    }

    /// Whether it stands in a text, beside the masks in it.
    pub(crate) fn stands_in(&self, text: &str) -> bool {
        !self.places(text).is_empty()
    }

    /// Its places in a text, in order, none touching a mask. Occurrences that overlap are one place.
    pub(crate) fn places(&self, text: &str) -> Vec<Range<usize>> {
        // Each byte of the secret takes at least one byte of the text.
        if text.len() < self.literal.bytes.len() {
            return Vec::new();
        }
        let mut walls: Vec<_> = text
            .match_indices(MASK)
            .map(|(at, mask)| at..at + mask.len())
            .collect();
        let mut found = between(&walls, text, &self.literal);
        if text.contains(['%', '+']) {
            walls.extend_from_slice(&found);
            walls.sort_unstable_by_key(|wall| wall.start);
            found.extend(between(&walls, text, &self.encoded));
            found.sort_unstable_by_key(|place| place.start);
        }
        found
    }
}

/// The places of a needle in the gaps between walls.
fn between(walls: &[Range<usize>], text: &str, needle: &Needle) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    let end = text.len()..text.len();
    for wall in walls.iter().chain([&end]) {
        needle.find(&text.as_bytes()[start..wall.start], start, &mut found);
        start = wall.end;
    }
    found
}

/// What is looked for, as tokens.
struct Needle {
    bytes: Zeroizing<Vec<u8>>,
    /// For each token, the length of the longest proper prefix that ends with it.
    borders: Vec<usize>,
    encoded: bool,
}

impl Needle {
    fn new(secret: &str, encoded: bool) -> Self {
        let tokens = Tokens {
            bytes: secret.as_bytes(),
            at: 0,
            encoded: false,
        };
        let mut bytes = Zeroizing::new(Vec::with_capacity(secret.len()));
        bytes.extend(tokens.map(|token| if encoded { token.folded() } else { token.byte }));
        let mut needle = Self {
            borders: Vec::with_capacity(bytes.len()),
            bytes,
            encoded,
        };
        let mut length = 0;
        for at in 0..needle.bytes.len() {
            if at > 0 {
                length = needle.longer(length, needle.bytes[at]);
            }
            needle.borders.push(length);
        }
        needle
    }

    /// How many tokens match after another one, where `length` of them did before.
    fn longer(&self, mut length: usize, byte: u8) -> usize {
        loop {
            steps::count(1);
            if self.bytes.get(length) == Some(&byte) {
                return length + 1;
            }
            if length == 0 {
                return 0;
            }
            length = self.borders[length - 1];
        }
    }

    /// Adds the places in `bytes`, which stand at `offset` in the text.
    fn find(&self, bytes: &[u8], offset: usize, found: &mut Vec<Range<usize>>) {
        if bytes.len() < self.bytes.len() {
            return;
        }
        let tokens = Tokens {
            bytes,
            at: 0,
            encoded: self.encoded,
        };
        // Runs behind by the needle's length, and so tells where an occurrence began.
        let mut behind = tokens.clone();
        let mut length = 0;
        for (index, token) in tokens.enumerate() {
            let byte = if self.encoded {
                token.folded()
            } else {
                token.byte
            };
            length = self.longer(length, byte);
            let first = (index + 1 >= self.bytes.len())
                .then(|| behind.next())
                .flatten();
            if let Some(first) = first
                && length == self.bytes.len()
            {
                let place = offset + first.start..offset + token.end;
                match found.last_mut() {
                    Some(last) if place.start < last.end => last.end = place.end,
                    _ => found.push(place),
                }
            }
        }
    }
}

/// A byte that a text stands for, and its place in the text.
struct Token {
    byte: u8,
    start: usize,
    end: usize,
}

impl Token {
    /// A form has `+` for a space.
    fn folded(&self) -> u8 {
        if self.byte == b'+' { b' ' } else { self.byte }
    }
}

/// The bytes of a text, `\r\n` as `\n`, and escapes resolved where it is percent-encoded.
#[derive(Clone)]
struct Tokens<'a> {
    bytes: &'a [u8],
    at: usize,
    encoded: bool,
}

impl Tokens<'_> {
    fn byte(&mut self) -> Option<u8> {
        let rest = self.bytes.get(self.at..)?;
        if self.encoded
            && let Some(byte) = percent::escape(rest)
        {
            self.at += 3;
            return Some(byte);
        }
        let byte = *rest.first()?;
        self.at += 1;
        Some(byte)
    }
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        steps::count(1);
        let start = self.at;
        let mut byte = self.byte()?;
        if byte == b'\r' {
            let end = self.at;
            if self.byte() == Some(b'\n') {
                byte = b'\n';
            } else {
                self.at = end;
            }
        }
        Some(Token {
            byte,
            start,
            end: self.at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'a>(secret: &str, text: &'a str) -> Vec<&'a str> {
        Sought::submitted(secret, "the client").map_or_else(Vec::new, |sought| {
            let places = sought.places(text).into_iter();
            places.map(|place| &text[place]).collect()
        })
    }

    #[test]
    fn a_secret_is_found_in_each_of_its_forms() {
        let pem = "-----BEGIN KEY-----\nab+/=\n-----END KEY-----\n";
        let table: [(&str, &str, &[&str]); 14] = [
            (
                "hunter2-hunter2",
                "a hunter2-hunter2!",
                &["hunter2-hunter2"],
            ),
            (
                " hunter2-hunter2\n",
                "xhunter2-hunter2y",
                &["hunter2-hunter2"],
            ),
            (
                pem,
                "<-----BEGIN KEY-----\r\nab+/=\r\n-----END KEY----->",
                &["-----BEGIN KEY-----\r\nab+/=\r\n-----END KEY-----"],
            ),
            (
                "line one\r\nline two",
                "line one\nline two",
                &["line one\nline two"],
            ),
            (
                "p@ss/w&rd",
                "p%40ss%2fw%26rd p%40ss%2Fw%26rd",
                &["p%40ss%2fw%26rd", "p%40ss%2Fw%26rd"],
            ),
            (
                "hunter2-hunter2",
                "%68unter2-hunter%32",
                &["%68unter2-hunter%32"],
            ),
            (
                "p ss+w rd",
                "p+ss%2Bw+rd p%20ss%2bw%20rd p%20ss+w%20rd",
                &["p+ss%2Bw+rd", "p%20ss%2bw%20rd", "p%20ss+w%20rd"],
            ),
            (
                "line one\nline two",
                "line%20one%0D%0Aline+two",
                &["line%20one%0D%0Aline+two"],
            ),
            (
                "sécrét-é",
                "s%C3%A9cr%c3%a9t-%C3%A9 sécrét-é",
                &["s%C3%A9cr%c3%a9t-%C3%A9", "sécrét-é"],
            ),
            (
                "%41%42%43",
                "x%41%42%43 and %2541%2542%2543",
                &["%41%42%43", "%2541%2542%2543"],
            ),
            ("abababab", "xabababababy", &["ababababab"]),
            (
                "aaaaaaaa",
                "aaaaaaaaaaaaaaaaaaaa",
                &["aaaaaaaaaaaaaaaaaaaa"],
            ),
            ("abcdefgh", "abcdefghabcdefgh", &["abcdefgh", "abcdefgh"]),
            ("abcdef12", "100%abcdef12", &["abcdef12"]),
        ];
        for (secret, text, expected) in table {
            assert_eq!(found(secret, text), expected, "{secret} in {text}");
        }
    }

    #[test]
    fn what_is_no_secret_is_not_looked_for() {
        for secret in [
            "",
            "short",
            " short      ",
            MASK,
            "the client",
            " the client ",
            "[[HIDDEN]]",
            "[Hidden]",
        ] {
            assert!(
                Sought::submitted(secret, "the client").is_none(),
                "{secret}"
            );
        }
        assert!(Sought::any_length("short", "the client").is_some());
        assert!(Sought::any_length(" ", "the client").is_none());
    }

    #[test]
    fn no_place_touches_a_mask() {
        assert_eq!(found("ClientSecret", MASK), Vec::<&str>::new());
        assert_eq!(
            found("dummyClient", "dummyClient dummyClientSecret"),
            ["dummyClient"]
        );
        assert_eq!(
            found("dummyClientSecret-and-more", "dummyClientSecret-and-more"),
            ["-and-more"]
        );
    }
}
