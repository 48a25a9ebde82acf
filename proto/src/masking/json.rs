//! Finds the strings of a JSON text without rebuilding the text. So everything that is not a secret stays byte
//! for byte: key order, white space, escapes, numbers and duplicate keys.
//!
//! The text must be valid and not nested too deep: [`crate::details`] has checked both before, so the recursion
//! is bounded.

mod decoded;

use std::{borrow::Cow, ops::Range};

pub(crate) use decoded::decode;

/// One value of a JSON text.
#[derive(Debug)]
pub(crate) enum Value<'a> {
    /// The range of the content, between the quotes.
    String(Range<usize>),
    Object(Vec<Member<'a>>),
    Array(Vec<Value<'a>>),
    /// A number, `true`, `false` or `null`.
    Other,
}

#[derive(Debug)]
pub(crate) struct Member<'a> {
    /// The key, with its escapes resolved.
    pub key: Cow<'a, str>,
    pub value: Value<'a>,
}

/// The deepest nesting of the brackets in a text. The text need not be valid JSON.
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
            let range = self.string();
            let key = decode(&self.text[range]).text;
            let value = self.value();
            reserve_one(&mut members);
            members.push(Member { key, value });
        }
        self.at += 1;
        members
    }

    fn array(&mut self) -> Vec<Value<'a>> {
        let mut items = Vec::new();
        self.at += 1;
        while !matches!(self.peek(), b']' | b'}') {
            let item = self.value();
            reserve_one(&mut items);
            items.push(item);
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

/// Reserves room for one item. A vector would reserve room for four, which would be most of the memory for a
/// text with thousands of small arrays.
fn reserve_one<T>(items: &mut Vec<T>) {
    if items.is_empty() {
        items.reserve_exact(1);
    }
}
