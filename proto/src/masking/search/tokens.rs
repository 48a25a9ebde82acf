//! Reads a text as the bytes that it means, with escapes resolved.

use crate::masking::{percent, steps};

/// One byte, and the range of the text that means it.
pub(super) struct Token {
    pub byte: u8,
    pub start: usize,
    pub end: usize,
}

impl Token {
    /// The byte, with `+` as a space, as forms encode it.
    pub fn folded(&self) -> u8 {
        if self.byte == b'+' { b' ' } else { self.byte }
    }
}

/// Iterates over the bytes of a text. `\r\n` gives `\n`, and with `encoded` percent escapes are resolved.
#[derive(Clone)]
pub(super) struct Tokens<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
    pub encoded: bool,
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
