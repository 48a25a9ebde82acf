//! Limits the number of tokens in a document and the nesting of its brackets, before it is parsed.
//!
//! The parser is recursive, so deep nesting overflows its stack. This scan is not recursive. It reads
//! strings and comments by the parser's grammar (`graphql.pest` of async-graphql-parser), so it counts
//! exactly the brackets that the parser would see. If no token matches, the scan stops with a parse
//! error, so the two can't disagree about the rest of the text.

use async_graphql::{Pos, ServerError};

use crate::graphql::error_text;

/// The maximum nesting of brackets. A client of this API needs 5, the standard introspection query 13. The
/// parser overflows a stack of 2 MiB at about 1,500 in a release build, and at about 400 in a debug
/// build.
pub(super) const MAX_NESTING: usize = 64;
/// A long name or number counts as one more token for this number of bytes, because the parser reads each
/// byte several times.
const BYTES_PER_TOKEN: usize = 64;
/// This number of bytes between tokens counts as one token, because the parser reads them again for each
/// rule that it tries.
const IGNORED_BYTES_PER_TOKEN: usize = 16;
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
const BLOCK: &[u8] = br#"""""#;
const ESCAPED_BLOCK: &[u8] = br#"\""""#;

/// Checks a text in one pass.
///
/// # Errors
/// The text has more than `max_tokens` tokens, is nested deeper than [`MAX_NESTING`], or can't be
/// parsed.
pub(super) fn scan(text: &str, max_tokens: usize) -> Result<(), ServerError> {
    let mut scan = Scan {
        text: text.as_bytes(),
        at: 0,
        open: Vec::new(),
        tokens: 0,
        ignored_bytes: 0,
    };
    loop {
        match scan.step() {
            Ok(true) if scan.weight() > max_tokens => {
                return Err(error_text::too_many("tokens", max_tokens));
            }
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(Stop::TooDeep) => return Err(error_text::too_deep()),
            Err(Stop::NoToken) => {
                return Err(error_text::parse_failed_at(position(text, scan.at)));
            }
        }
    }
}

/// Why a scan stops.
enum Stop {
    TooDeep,
    /// No token of the grammar starts here.
    NoToken,
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    /// The expected closing brackets, the next one last.
    open: Vec<u8>,
    tokens: usize,
    ignored_bytes: usize,
}

impl Scan<'_> {
    /// Reads the next token, or ignored bytes. Returns `false` at the end of the text.
    fn step(&mut self) -> Result<bool, Stop> {
        let rest = &self.text[self.at..];
        let Some(first) = rest.first() else {
            return Ok(false);
        };
        match first {
            b' ' | b',' | b'\t' | b'\r' | b'\n' => self.ignore(1),
            b'#' => self.ignore(length_while(rest, |byte| !matches!(byte, b'\r' | b'\n'))),
            b'{' => self.opens(b'}')?,
            b'[' => self.opens(b']')?,
            b'(' => self.opens(b')')?,
            b'}' | b']' | b')' => self.closes(*first)?,
            b':' | b'=' | b'!' | b'$' | b'@' => self.token(1),
            b'A'..=b'Z' | b'a'..=b'z' | b'_' => {
                let length =
                    length_while(rest, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
                self.long_token(length);
            }
            b'0'..=b'9' | b'-' => {
                let in_number = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
                self.long_token(length_while(rest, in_number));
            }
            b'"' => {
                let length = string(rest).ok_or(Stop::NoToken)?;
                self.token(length);
            }
            b'.' if rest.starts_with(b"...") => self.token(3),
            _ if rest.starts_with(BYTE_ORDER_MARK) => self.ignore(BYTE_ORDER_MARK.len()),
            _ => return Err(Stop::NoToken),
        }
        Ok(true)
    }

    fn opens(&mut self, closing: u8) -> Result<(), Stop> {
        if self.open.len() == MAX_NESTING {
            return Err(Stop::TooDeep);
        }
        self.open.push(closing);
        self.token(1);
        Ok(())
    }

    fn closes(&mut self, closing: u8) -> Result<(), Stop> {
        if self.open.pop() != Some(closing) {
            return Err(Stop::NoToken);
        }
        self.token(1);
        Ok(())
    }

    fn token(&mut self, length: usize) {
        self.at += length;
        self.tokens += 1;
    }

    fn long_token(&mut self, length: usize) {
        self.token(length);
        self.tokens += length / BYTES_PER_TOKEN;
    }

    fn ignore(&mut self, length: usize) {
        self.at += length;
        self.ignored_bytes += length;
    }

    fn weight(&self) -> usize {
        self.tokens + self.ignored_bytes / IGNORED_BYTES_PER_TOKEN
    }
}

fn length_while(text: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    let end = text.iter().position(|byte| !belongs(*byte));
    end.unwrap_or(text.len())
}

/// The length of the string at the start of a text, quotes included. `None` if the string does not end, or
/// has an invalid escape.
fn string(text: &[u8]) -> Option<usize> {
    if text.starts_with(BLOCK) {
        return block_string(text);
    }
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\r' | b'\n' => return None,
            b'\\' => at += escape(&text[at + 1..])?,
            _ => at += 1,
        }
    }
}

fn block_string(text: &[u8]) -> Option<usize> {
    let mut at = BLOCK.len();
    loop {
        let rest = &text[at..];
        if rest.starts_with(BLOCK) {
            return Some(at + BLOCK.len());
        }
        at += match rest.first()? {
            b'\\' if rest.starts_with(ESCAPED_BLOCK) => ESCAPED_BLOCK.len(),
            _ => 1,
        };
    }
}

/// The length of an escape, backslash included.
fn escape(text: &[u8]) -> Option<usize> {
    match text.first()? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => {
            let digits = text.get(1..5)?;
            digits.iter().all(u8::is_ascii_hexdigit).then_some(6)
        }
        _ => None,
    }
}

fn position(text: &str, at: usize) -> Pos {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Pos {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

#[cfg(test)]
mod tests;
