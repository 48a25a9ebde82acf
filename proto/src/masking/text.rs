//! Finds secrets in a string by the syntax of URLs, forms, connection strings, and text that contains them.
//!
//! The scan is one pass from left to right and never goes back, so the ranges are in order and don't overlap.
//!
//! **The start of a string decides its form:**
//!
//! - *URL*: it starts with `scheme://`, with a scheme of the web (`https:host`, too), or with `/`;
//! - *list of pairs* (a form or a connection string): it starts with `name=`, perhaps after `?`, `#`, `&` or
//!   `;`, and the name has only letters, digits, spaces and `_ - . % [ ]`; or it starts with `jdbc:`;
//! - *text* otherwise. A URL in text ends at white space, quotes, `<` and `>`.
//!
//! **The password of a URL** is between the first `:` and the last `@` of its authority, which ends before the
//! next `/`, `\`, `?` or `#`.
//!
//! **The value of a pair `name=value`** is a secret if the whole name, percent-decoded, is the name of a secret.
//! The name may start in two ways. In a URL or a list it starts after `?`, `#`, `&`, `;` or at the start of the
//! string, so that it may contain spaces. Everywhere it may also be a single word, which starts after these
//! characters, white space, quotes, or one of `< > ( { [ , : /`. The value
//!
//! - in quotes or braces ends with the closing one, if a separator follows;
//! - in a URL ends at the next `?`, `#`, `&` or `;`;
//! - elsewhere ends at an `&` or `;`, if another pair or nothing follows;
//! - of a name that is a single word ends at white space, too, and in text at quotes, `<` and `>`.

mod syntax;
mod value;

use std::ops::Range;

use self::syntax::{begins_a_pair, closes, is_edge, is_encoded_mask, is_separator};
use super::{names::Named, percent, steps, urls};
use crate::secret::MASK;

/// Whether the text starts with a value that is masked already.
fn is_masked_value(value: &str) -> bool {
    let value = value.trim_ascii_start();
    let value = value.strip_prefix(['"', '\'', '{']).unwrap_or(value);
    value.starts_with(MASK)
}

/// The ranges of the secrets in a string, in order and without overlaps.
pub(super) fn secrets(text: &str) -> Vec<Range<usize>> {
    // Every rule needs one of these characters.
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

/// How the name of a pair was found. It decides where the value ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// The name starts after a separator, and may contain spaces.
    Part,
    /// The name is a single word.
    Word,
}

struct Scanner<'a> {
    text: &'a str,
    form: Form,
    at: usize,
    /// Where the name before the next `=` starts, found as a part and as a word. `None` after an `=`, until
    /// the next part or word starts.
    part: Option<usize>,
    word: Option<usize>,
    /// Whether a URL started in this word.
    in_url: bool,
    /// Which closing quotes were searched for up to the end of the text and not found. Without it, the scan
    /// would not be linear.
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

    /// Scans the authority of a URL whose scheme and colon end at `start`.
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
            // The original value may have contained a `/` that ended the authority, so its mask does, too.
            b'=' => is_masked_value(&self.text[at + 1..]),
            // `jdbc:sqlserver://host:1433;password=p@ss`
            b';' => self.form == Form::List && self.ends_a_pair(at),
            _ => self.form != Form::Url && is_edge(byte),
        }
    }

    /// Scans the pair whose name ends at the current `=`.
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

    /// Adds the range of a secret, unless it is empty or a mask.
    fn found(&mut self, range: Range<usize>) {
        if !range.is_empty() && !is_encoded_mask(&self.text[range.clone()]) {
            self.found.push(range);
        }
    }
}

#[cfg(test)]
mod tests;
