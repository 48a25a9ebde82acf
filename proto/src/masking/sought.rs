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

mod tokens;

use std::ops::Range;

use secrecy::zeroize::Zeroizing;

use super::{PLATFORM_MASKS, steps};
use crate::secret::MASK;
use tokens::Tokens;

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

#[cfg(test)]
mod tests;
