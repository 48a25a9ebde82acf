//! Finds the submitted client secret in a text, in each form that it may have there.
//!
//! There are two searches (Knuth, Morris and Pratt). Their time is linear in the length of the text for
//! every secret, also if occurrences overlap:
//!
//! 1. the literal secret, where `\r\n` and `\n` are equal;
//! 2. the percent-encoded secret: each byte may be encoded, in hex digits of either case. `+` and a space
//!    are equal.
//!
//! The second search covers only the text between the results of the first, and neither search covers an
//! existing mask. So no text between two masks contains the secret, and masking the result again changes
//! nothing.

mod tokens;

use std::ops::Range;

use secrecy::zeroize::Zeroizing;

use super::{PLATFORM_MASKS, steps};
use crate::secret::MASK;
use tokens::Tokens;

/// Shorter secrets are not searched for. A secret such as `A` would match by chance and mask half of the
/// details.
pub const SHORTEST_SEARCHED_BYTES: usize = 8;

/// A secret that is prepared for the two searches.
pub(crate) struct SearchTerms {
    literal: Needle,
    encoded: Needle,
}

impl SearchTerms {
    /// The submitted secret without white space at its ends. `None` if the secret is a mask, the client id, or
    /// shorter than [`SHORTEST_SEARCHED_BYTES`]. If it contains the mask, only the longest part before,
    /// between or after masks is used.
    pub(crate) fn submitted(secret: &str, client_id: &str) -> Option<Self> {
        Self::of(secret, client_id, SHORTEST_SEARCHED_BYTES)
    }

    /// As [`SearchTerms::submitted`], without a shortest length.
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

    /// Whether a text contains the secret outside of its masks.
    pub(crate) fn occurs_in(&self, text: &str) -> bool {
        !self.ranges(text).is_empty()
    }

    /// Where a text contains the secret. The ranges are in order and outside of masks. Occurrences that
    /// overlap give one range.
    pub(crate) fn ranges(&self, text: &str) -> Vec<Range<usize>> {
        // Each byte of the secret takes at least one byte of the text.
        if text.len() < self.literal.bytes.len() {
            return Vec::new();
        }
        let mut excluded: Vec<_> = text
            .match_indices(MASK)
            .map(|(at, mask)| at..at + mask.len())
            .collect();
        let mut found = between(&excluded, text, &self.literal);
        if text.contains(['%', '+']) {
            excluded.extend_from_slice(&found);
            excluded.sort_unstable_by_key(|range| range.start);
            found.extend(between(&excluded, text, &self.encoded));
            found.sort_unstable_by_key(|range| range.start);
        }
        found
    }
}

/// Where the text between the excluded ranges contains a needle.
fn between(excluded: &[Range<usize>], text: &str, needle: &Needle) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    let end = text.len()..text.len();
    for range in excluded.iter().chain([&end]) {
        needle.find(&text.as_bytes()[start..range.start], start, &mut found);
        start = range.end;
    }
    found
}

/// The bytes that a search compares with the tokens of a text.
struct Needle {
    bytes: Zeroizing<Vec<u8>>,
    /// For each byte, the length of the longest proper prefix of `bytes` that ends with this byte. This is the
    /// failure function of Knuth, Morris and Pratt.
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
                length = needle.extend_match(length, needle.bytes[at]);
            }
            needle.borders.push(length);
        }
        needle
    }

    /// The length of the match after one more byte, if it was `length` before.
    fn extend_match(&self, mut length: usize, byte: u8) -> usize {
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

    /// Adds the occurrences in `bytes`, which start at `offset` in the text.
    fn find(&self, bytes: &[u8], offset: usize, found: &mut Vec<Range<usize>>) {
        if bytes.len() < self.bytes.len() {
            return;
        }
        let tokens = Tokens {
            bytes,
            at: 0,
            encoded: self.encoded,
        };
        // This iterator is behind by the length of the needle, at the start of a possible occurrence.
        let mut behind = tokens.clone();
        let mut length = 0;
        for (index, token) in tokens.enumerate() {
            let byte = if self.encoded {
                token.folded()
            } else {
                token.byte
            };
            length = self.extend_match(length, byte);
            let first = (index + 1 >= self.bytes.len())
                .then(|| behind.next())
                .flatten();
            if let Some(first) = first
                && length == self.bytes.len()
            {
                let range = offset + first.start..offset + token.end;
                match found.last_mut() {
                    Some(last) if range.start < last.end => last.end = range.end,
                    _ => found.push(range),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
