//! Resolves the escapes of a JSON string, and maps positions back to the raw string.

use std::{borrow::Cow, ops::Range};

use crate::secret::MASK;

/// A string with its escapes resolved, which can map a range of it to the raw string.
pub(crate) struct Decoded<'a> {
    pub text: Cow<'a, str>,
    /// For the end of each escape, the offset in `text` and the offset in the raw string. Between two entries
    /// both offsets grow by the same amount.
    behind_escapes: Vec<(usize, usize)>,
}

impl Decoded<'_> {
    /// Maps a range of `text` to the range of the raw string. Both are relative to the start of the string.
    pub fn raw(&self, range: &Range<usize>) -> Range<usize> {
        self.raw_offset(range.start)..self.raw_offset(range.end)
    }

    fn raw_offset(&self, at: usize) -> usize {
        let behind = self.behind_escapes.partition_point(|(text, _)| *text <= at);
        match behind.checked_sub(1).map(|last| self.behind_escapes[last]) {
            Some((text, raw)) => raw + (at - text),
            None => at,
        }
    }

    /// The same string with these ranges of `text` replaced by the mask. The ranges must be in order and must
    /// not overlap.
    pub fn with_masks(&self, ranges: &[Range<usize>]) -> Decoded<'_> {
        if ranges.is_empty() {
            return Decoded {
                text: Cow::Borrowed(&self.text),
                behind_escapes: self.behind_escapes.clone(),
            };
        }
        let mut masked = String::with_capacity(self.text.len() + ranges.len() * MASK.len());
        let mut behind_escapes = Vec::with_capacity(self.behind_escapes.len() + ranges.len());
        let mut escapes = self.behind_escapes.iter().peekable();
        let mut done = 0;
        for range in ranges.iter().chain([&(self.text.len()..self.text.len())]) {
            while let Some((text, raw)) = escapes.next_if(|(text, _)| *text <= range.start) {
                behind_escapes.push((masked.len() + (text - done), *raw));
            }
            while escapes.next_if(|(text, _)| *text <= range.end).is_some() {}
            masked.push_str(&self.text[done..range.start]);
            if !range.is_empty() {
                masked.push_str(MASK);
                behind_escapes.push((masked.len(), self.raw_offset(range.end)));
            }
            done = range.end;
        }
        Decoded {
            text: Cow::Owned(masked),
            behind_escapes,
        }
    }
}

/// Resolves the escapes in the content of a string. A lone surrogate becomes U+FFFD: it can't be part of the
/// names and secrets that masking searches for.
pub(crate) fn decode(raw: &str) -> Decoded<'_> {
    let mut behind_escapes = Vec::new();
    let Some(first) = raw.find('\\') else {
        return Decoded {
            text: Cow::Borrowed(raw),
            behind_escapes,
        };
    };
    let mut text = String::with_capacity(raw.len());
    let (mut done, mut next) = (0, Some(first));
    while let Some(at) = next {
        text.push_str(&raw[done..at]);
        let (char, length) = escape(&raw[at..]);
        text.push(char);
        done = at + length;
        behind_escapes.push((text.len(), done));
        next = raw[done..].find('\\').map(|further| done + further);
    }
    text.push_str(&raw[done..]);
    Decoded {
        text: Cow::Owned(text),
        behind_escapes,
    }
}

/// The character that an escape means, and the length of the escape in bytes.
fn escape(raw: &str) -> (char, usize) {
    match raw.as_bytes().get(1) {
        Some(b'u') => match (unit(raw), raw.get(6..).and_then(low_surrogate)) {
            (Some(high @ 0xD800..=0xDBFF), Some(low)) => {
                let code = 0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00);
                (char::from_u32(code).unwrap_or('\u{FFFD}'), 12)
            }
            (code, _) => (
                code.and_then(char::from_u32).unwrap_or('\u{FFFD}'),
                6.min(raw.len()),
            ),
        },
        Some(b'n') => ('\n', 2),
        Some(b'r') => ('\r', 2),
        Some(b't') => ('\t', 2),
        Some(b'b') => ('\u{8}', 2),
        Some(b'f') => ('\u{C}', 2),
        Some(other) => (char::from(*other), 2),
        None => ('\\', 1),
    }
}

fn unit(raw: &str) -> Option<u32> {
    u32::from_str_radix(raw.get(2..6)?, 16).ok()
}

fn low_surrogate(raw: &str) -> Option<u32> {
    raw.starts_with("\\u")
        .then(|| unit(raw))?
        .filter(|unit| (0xDC00..=0xDFFF).contains(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_mapped_to_the_raw_string() {
        let raw = r#"a\u0062c\n\ud83d\ude00d\"e"#;
        let decoded = decode(raw);
        assert_eq!(decoded.text, "abc\n\u{1f600}d\"e");

        let back = |part: &str| {
            let at = decoded.text.find(part).unwrap_or_default();
            &raw[decoded.raw(&(at..at + part.len()))]
        };
        assert_eq!(back("a"), "a");
        assert_eq!(back("b"), r"\u0062");
        assert_eq!(back("bc\n"), r"\u0062c\n");
        assert_eq!(back("\u{1f600}d"), r"\ud83d\ude00d");
        assert_eq!(back("\"e"), "\\\"e");
        assert_eq!(back(&decoded.text), raw);
    }

    #[test]
    fn ranges_behind_masks_are_mapped_to_the_raw_string() {
        let raw = r"\u0061-secret\n-b\tc-secret";
        let decoded = decode(raw);
        let ranges: Vec<_> = decoded
            .text
            .match_indices("secret")
            .map(|(at, part)| at..at + part.len())
            .collect();
        let masked = decoded.with_masks(&ranges);
        assert_eq!(masked.text, format!("a-{MASK}\n-b\tc-{MASK}"));

        let back = |part: &str| {
            let at = masked.text.find(part).unwrap_or_default();
            &raw[masked.raw(&(at..at + part.len()))]
        };
        assert_eq!(back("a-"), r"\u0061-");
        assert_eq!(back(MASK), "secret");
        assert_eq!(back(&format!("{MASK}\n")), r"secret\n");
        assert_eq!(back("-b\tc"), r"-b\tc");
        assert_eq!(back(&masked.text), raw);
    }
}
