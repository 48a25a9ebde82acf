//! Finds the strings of a JSON text without rebuilding it, so that what is not a secret can stay
//! byte for byte: key order, white space, escapes, numbers and duplicate keys included.
//!
//! It trusts its input: [`crate::details`] has had the syntax checked by a parser before, and the
//! depth too, so recursion is bounded.

use std::{borrow::Cow, ops::Range};

/// One value of a JSON text, by its place.
#[derive(Debug)]
pub(crate) enum Value<'a> {
    /// The place of the content, between the quotes.
    String(Range<usize>),
    Object(Vec<Member<'a>>),
    Array(Vec<Value<'a>>),
    /// A number, `true`, `false` or `null`.
    Other,
}

#[derive(Debug)]
pub(crate) struct Member<'a> {
    /// The key, its escapes resolved.
    pub key: Cow<'a, str>,
    pub value: Value<'a>,
}

/// How deep the brackets of a text are nested. It needs no valid text, only an end.
pub(crate) fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Reads a valid JSON text.
pub(crate) fn read(text: &str) -> Value<'_> {
    Reader { text, at: 0 }.value()
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&mut self) -> u8 {
        let bytes = self.text.as_bytes();
        while matches!(
            bytes.get(self.at),
            Some(b' ' | b'\t' | b'\n' | b'\r' | b',' | b':')
        ) {
            self.at += 1;
        }
        bytes.get(self.at).copied().unwrap_or(b'}')
    }

    fn value(&mut self) -> Value<'a> {
        match self.peek() {
            b'"' => Value::String(self.string()),
            b'{' => Value::Object(self.object()),
            b'[' => Value::Array(self.array()),
            _ => self.scalar(),
        }
    }

    fn object(&mut self) -> Vec<Member<'a>> {
        let mut members = Vec::new();
        self.at += 1;
        while self.peek() == b'"' {
            let place = self.string();
            let key = decode(&self.text[place]).text;
            let value = self.value();
            members.push(Member { key, value });
        }
        self.at += 1;
        members
    }

    fn array(&mut self) -> Vec<Value<'a>> {
        let mut items = Vec::new();
        self.at += 1;
        while !matches!(self.peek(), b']' | b'}') {
            items.push(self.value());
        }
        self.at += 1;
        items
    }

    fn string(&mut self) -> Range<usize> {
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let mut end = start;
        while let Some(&byte) = bytes.get(end) {
            match byte {
                b'"' => break,
                b'\\' => end += 2,
                _ => end += 1,
            }
        }
        self.at = end + 1;
        start..end
    }

    fn scalar(&mut self) -> Value<'a> {
        let rest = &self.text.as_bytes()[self.at..];
        let length = rest
            .iter()
            .take_while(|byte| !matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r'))
            .count();
        self.at += length.max(1);
        Value::Other
    }
}

/// A string with its escapes resolved, and the way back to where each byte stands in the text.
pub(crate) struct Decoded<'a> {
    pub text: Cow<'a, str>,
    /// For each byte of `text`, and for its end, the offset in the raw string. Empty where
    /// nothing was escaped, since the offsets are the same then.
    offsets: Vec<usize>,
}

impl Decoded<'_> {
    /// The raw place of a place in `text`, both relative to the string's start.
    pub fn raw(&self, place: &Range<usize>) -> Range<usize> {
        if self.offsets.is_empty() {
            return place.clone();
        }
        self.offsets[place.start]..self.offsets[place.end]
    }
}

/// Resolves the escapes of a string's content. A lone surrogate becomes U+FFFD: it can't be
/// part of a key or a secret that anyone could name.
pub(crate) fn decode(raw: &str) -> Decoded<'_> {
    if !raw.contains('\\') {
        return Decoded {
            text: Cow::Borrowed(raw),
            offsets: Vec::new(),
        };
    }
    let mut text = String::with_capacity(raw.len());
    let mut offsets = Vec::with_capacity(raw.len() + 1);
    let mut at = 0;
    while let Some(next) = raw[at..].chars().next() {
        let (char, length) = match next {
            '\\' => escape(&raw[at..]),
            plain => (plain, plain.len_utf8()),
        };
        offsets.extend(std::iter::repeat_n(at, char.len_utf8()));
        text.push(char);
        at += length;
    }
    offsets.push(raw.len());
    Decoded {
        text: Cow::Owned(text),
        offsets,
    }
}

/// The character that an escape stands for, and the escape's length in bytes.
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
