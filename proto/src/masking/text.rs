//! Finds the secrets that stand in a string by its syntax: in URLs, in forms, in connection
//! strings, and in text around them. One pass from left to right; what was found is not looked at
//! again, so places are in order and never overlap.
//!
//! **The form of a string** is decided by how it begins:
//!
//! - *URL*: it begins with `scheme://`, with the scheme of the web (`https:host` too), or with `/`;
//! - *list of pairs* (a form, or a connection string): it begins with `name=`, perhaps behind `?`,
//!   `#`, `&` or `;`, where the name has letters, digits, spaces and `_ - . % [ ]`; or with `jdbc:`;
//! - *text* otherwise. URLs that stand in it end at white space, quotes and `<` `>`.
//!
//! **The password of a URL** stands between the first `:` and the last `@` of what lies before the
//! next `/`, `\`, `?` or `#`.
//!
//! **The value of a pair `name=value`** is a secret if the whole name, percent-decoded, is a secret's.
//! The name begins either behind `?`, `#`, `&`, `;` or the string's start (not in text), so that it
//! may have spaces; or at the start of the word, which begins behind white space, quotes or one of
//! `< > ( { [ , : /` too. A value
//!
//! - in quotes or braces ends with them, if a separator follows;
//! - in a URL ends at the next `?`, `#`, `&` or `;`;
//! - elsewhere ends at an `&` or `;` behind which another pair begins, or nothing follows;
//! - of a name that is only a word ends at white space too, and in text at quotes, `<` and `>`.

mod syntax;

use std::ops::Range;

use super::{names::Named, percent, steps, urls};
use crate::secret::MASK;
use syntax::{begins_a_pair, closes, holds_a_mask, is_edge, is_separator};

/// Whether the value of a pair that stands here was masked before.
fn is_masked_value(value: &str) -> bool {
    let value = value.trim_ascii_start();
    let value = value.strip_prefix(['"', '\'', '{']).unwrap_or(value);
    value.starts_with(MASK)
}

/// The places of the secrets in a string, in order.
pub(super) fn secrets(text: &str) -> Vec<Range<usize>> {
    // Each of them needs one of these.
    if !text.contains(['=', '@']) {
        return Vec::new();
    }
    Scanner::new(text).run()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Url,
    List,
    Text,
}

/// How a pair's name was found, which decides where its value ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Part,
    Word,
}

struct Scanner<'a> {
    text: &'a str,
    form: Form,
    at: usize,
    /// Where the name begins that the next `=` ends: that of the part, and that of the word. None
    /// behind an `=`, until the next part or word begins.
    part: Option<usize>,
    word: Option<usize>,
    /// Whether a URL began in this word.
    in_url: bool,
    /// Which closing quotes do not come any more, so that they are not looked for again.
    unclosed: [bool; 6],
    found: Vec<Range<usize>>,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Self {
        let start = text.bytes().take_while(|byte| *byte <= b' ').count();
        let rest = &text[start..];
        let mut scanner = Self {
            text,
            form: Form::Text,
            at: start,
            part: None,
            word: Some(start),
            in_url: false,
            unclosed: [false; 6],
            found: Vec::new(),
        };
        let pairs = rest.trim_start_matches(['?', '#', '&', ';']);
        if urls::is_jdbc(rest) || begins_a_pair(pairs.as_bytes()) {
            scanner.form = Form::List;
            scanner.part = Some(start);
        } else if let Some(after_scheme) = urls::scheme(rest) {
            scanner.form = Form::Url;
            scanner.authority(start + after_scheme);
        } else if rest.starts_with('/') {
            scanner.form = Form::Url;
        }
        scanner
    }

    fn run(mut self) -> Vec<Range<usize>> {
        while let Some(byte) = self.byte(self.at) {
            let next = self.at + 1;
            match byte {
                b':' if self.text.as_bytes()[next..].starts_with(b"//") => self.authority(next),
                b'=' => self.pair(),
                _ => {
                    if is_separator(byte) {
                        self.part = Some(next);
                        self.word = Some(next);
                    } else if is_edge(byte) {
                        self.in_url = false;
                        self.word = Some(next);
                    } else if matches!(byte, b'(' | b'{' | b'[' | b',' | b':' | b'/') {
                        self.word = Some(next);
                    }
                    self.at = next;
                }
            }
        }
        self.found
    }

    fn byte(&self, at: usize) -> Option<u8> {
        steps::count(1);
        self.text.as_bytes().get(at).copied()
    }

    /// A URL whose scheme and colon end at `start`.
    fn authority(&mut self, start: usize) {
        let mut end = start;
        let skipped = |byte| match byte {
            b'/' | b'\\' => true,
            b'\t' | b'\n' | b'\r' => self.form == Form::Url,
            _ => false,
        };
        while self.byte(end).is_some_and(skipped) {
            end += 1;
        }
        let (host, mut colon, mut at) = (end, None, None);
        while let Some(byte) = self
            .byte(end)
            .filter(|byte| !self.ends_authority(*byte, end))
        {
            match byte {
                b':' if colon.is_none() => colon = Some(end),
                b'@' => at = Some(end),
                _ => {}
            }
            end += 1;
        }
        self.in_url = true;
        self.at = host;
        if let (Some(colon), Some(at)) = (colon, at)
            && colon < at
        {
            self.found(colon + 1..at);
            self.at = at;
            self.part = None;
        }
        self.word = Some(self.at);
    }

    fn ends_authority(&self, byte: u8, at: usize) -> bool {
        match byte {
            b'/' | b'\\' | b'?' | b'#' => true,
            // A pair's value stood there, perhaps with a `/` in it that ended the authority.
            b'=' => is_masked_value(&self.text[at + 1..]),
            // `jdbc:sqlserver://host:1433;password=p@ss`
            b';' => self.form == Form::List && self.ends_a_pair(at),
            _ => self.form != Form::Url && is_edge(byte),
        }
    }

    /// The pair whose name ends here.
    fn pair(&mut self) {
        let (part, word) = (self.part.take(), self.word.take());
        let start = self.at + 1;
        let by = if self.form != Form::Text && self.is_secret(part) {
            By::Part
        } else if self.is_secret(word) {
            By::Word
        } else {
            self.at = start;
            return;
        };
        let start = match by {
            By::Part => self.past_spaces(start),
            By::Word => start,
        };
        if let Some(end) = self.closing(start, by) {
            self.found(start + 1..end);
            self.at = end;
            return;
        }
        let quoted = self.byte(start).and_then(closes).is_some();
        let mut end = start;
        while let Some(byte) = self.byte(end)
            && !self.ends_value(byte, end, by, quoted)
        {
            end += 1;
        }
        let value = self.text[start..end].trim_ascii_end();
        self.found(start..start + value.len());
        self.at = end;
    }

    fn is_secret(&self, start: Option<usize>) -> bool {
        start.is_some_and(|start| {
            steps::count(self.at - start);
            Named::by(&percent::decoded(&self.text[start..self.at])) == Named::Secret
        })
    }

    fn ends_value(&self, byte: u8, at: usize, by: By, quoted: bool) -> bool {
        if by == By::Word && is_edge(byte) {
            return byte.is_ascii_whitespace() || !(quoted || self.form == Form::List);
        }
        if self.form == Form::Url || (self.form == Form::Text && self.in_url) {
            return is_separator(byte);
        }
        matches!(byte, b'&' | b';') && self.ends_a_pair(at)
    }

    /// Whether behind this `&` or `;` another pair begins, or nothing follows.
    fn ends_a_pair(&self, at: usize) -> bool {
        let rest = &self.text.as_bytes()[at + 1..];
        rest.trim_ascii_start().is_empty() || begins_a_pair(rest)
    }

    /// Where a quote ends that begins here, if a separator follows it.
    fn closing(&mut self, start: usize, by: By) -> Option<usize> {
        let (kind, close) = closes(self.byte(start)?)?;
        let unclosed = kind * 2 + usize::from(by == By::Part);
        if self.unclosed[unclosed] {
            return None;
        }
        let mut end = start + 1;
        while let Some(byte) = self.byte(end) {
            if byte == close && self.is_closed(end + 1, by) {
                return Some(end);
            }
            end += 1;
        }
        self.unclosed[unclosed] = true;
        None
    }

    fn is_closed(&self, at: usize, by: By) -> bool {
        let at = match by {
            By::Part => self.past_spaces(at),
            By::Word => at,
        };
        self.byte(at).is_none_or(|byte| match byte {
            b';' | b'&' => true,
            b',' | b')' | b'}' | b']' | b'>' => by == By::Word,
            other => other.is_ascii_whitespace(),
        })
    }

    fn past_spaces(&self, mut at: usize) -> usize {
        while self.byte(at).is_some_and(|byte| byte.is_ascii_whitespace()) {
            at += 1;
        }
        at
    }

    /// A secret, unless nothing stands there or a mask.
    fn found(&mut self, place: Range<usize>) {
        if !place.is_empty() && !holds_a_mask(&self.text[place.clone()]) {
            self.found.push(place);
        }
    }
}

#[cfg(test)]
mod tests;
