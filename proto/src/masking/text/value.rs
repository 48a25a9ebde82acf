//! Finds the end of the value in `name=value`.

use super::{
    By, Form, Scanner,
    syntax::{begins_a_pair, closes, is_edge, is_separator},
};

impl Scanner<'_> {
    /// Whether the value of a pair ends before this byte.
    pub(super) fn ends_value(&self, byte: u8, at: usize, by: By, quoted: bool) -> bool {
        if by == By::Word && is_edge(byte) {
            return byte.is_ascii_whitespace() || !(quoted || self.form == Form::List);
        }
        if self.form == Form::Url || (self.form == Form::Text && self.in_url) {
            return is_separator(byte);
        }
        matches!(byte, b'&' | b';') && self.ends_a_pair(at)
    }

    /// Whether this `&` or `;` ends a pair: another pair or nothing follows.
    pub(super) fn ends_a_pair(&self, at: usize) -> bool {
        let rest = &self.text.as_bytes()[at + 1..];
        rest.trim_ascii_start().is_empty() || begins_a_pair(rest)
    }

    /// The position of the closing quote, if a quote opens at `start` and a separator follows the closing one.
    pub(super) fn closing(&mut self, start: usize, by: By) -> Option<usize> {
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

    pub(super) fn past_spaces(&self, mut at: usize) -> usize {
        while self.byte(at).is_some_and(|byte| byte.is_ascii_whitespace()) {
            at += 1;
        }
        at
    }
}
