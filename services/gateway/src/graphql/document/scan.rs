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
    let line = before.rsplit('\n').next().unwrap_or_default();
    Pos {
        line: before.matches('\n').count() + 1,
        column: line.chars().count() + 1,
    }
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;

    use super::*;
    use crate::graphql::errors::code;

    const MAX_TOKENS: usize = 2000;

    fn error_message(text: &str) -> Option<String> {
        let error = scan(text, MAX_TOKENS).err()?;
        let code = code(&error).unwrap_or_default();
        Some(format!("{code}: {}", error.message))
    }

    #[test]
    fn brackets_in_strings_and_comments_are_not_counted() {
        let brackets = "{[(".repeat(MAX_NESTING);
        for text in [
            format!(r#"{{ a(s: "{brackets}") }}"#),
            format!(r#"{{ a(s: "\"{brackets}\u007b\\") }}"#),
            format!(r#"{{ a(s: """{brackets} " "" \""" {brackets}""") }}"#),
            format!(r#"{{ a(s: """{brackets}\\\"""{brackets}""") }}"#),
            format!("{{ a # {brackets} \" \"\"\"\n }}"),
            format!("{{ a # {brackets} \"\r }}"),
            "\u{feff}{ a(x: [1.5e-3, -2, $b], y: { c: true }) @d ...F }".to_owned(),
        ] {
            assert_eq!(error_message(&text), None, "{text}");
            assert!(parse_query(&text).is_ok(), "{text}");
        }
    }

    #[test]
    fn brackets_that_the_parser_sees_are_counted() {
        // Each of these hides the closing brackets from the parser, or looks like the start of a string.
        for (open, close) in [
            ("{ y(i: {s: [#]\n", ""),
            ("{a #}\n", ""),
            ("{a #}\r", ""),
            ("{a(s:\"]})\") ", ""),
            ("{a(s:\"\"\"\\\"\"\"]})\"\"\") ", ""),
            ("{a", "}"),
            ("query($a: [", ""),
            ("{a(x:[", ""),
            ("{a(x:{b:", ""),
        ] {
            let text = open.repeat(2000) + &close.repeat(2000);
            let message = error_message(&text).unwrap_or_default();
            assert!(message.contains("nested too deep"), "{open}: {message}");
        }
    }

    #[test]
    fn text_without_a_token_is_a_parse_error() {
        for text in [
            "{ a(s: \"",
            "{ a(s: \"\n\") }",
            "{ a(s: \"\\x\") }",
            "{ a(s: \"\\u00g0\") }",
            // The parser would read an empty string and a second string.
            "{ a(s: [\"\"\"b\" {c: 1}]) }",
            "{ a(s: \"\"\"b\\\"\"\") }",
            "{ a(]) }",
            "}",
            "{ a ; }",
            "{ a .. }",
            "{ ä }",
        ] {
            let message = error_message(text).unwrap_or_default();
            assert!(message.starts_with("GRAPHQL_PARSE_FAILED"), "{text}");
        }
        let error = scan("{\n  é }", MAX_TOKENS).err();
        let pos = error.and_then(|error| error.locations.first().copied());
        assert_eq!(pos, Some(Pos { line: 2, column: 3 }));
    }

    #[test]
    fn a_text_may_have_the_maximum_number_of_tokens_and_no_more() {
        let fields = |count: usize| format!("{{{}}}", "id ".repeat(count));
        // 16 bytes between tokens count as one token.
        let fits = (MAX_TOKENS - 2) * 16 / 17;
        assert_eq!(error_message(&fields(fits)), None);
        for text in [
            fields(fits + 2),
            format!("{{ {} }}", "a".repeat(MAX_TOKENS * 64)),
            format!("{{ a(b: {}) }}", "1".repeat(MAX_TOKENS * 64)),
            format!("{{ a {} }}", " ".repeat(MAX_TOKENS * 16)),
            format!("{{ a #{}\n }}", "x".repeat(MAX_TOKENS * 16)),
        ] {
            let message = error_message(&text).unwrap_or_default();
            assert!(message.contains("more than 2000 tokens"), "{message}");
        }
        let string = format!("{{ a(b: \"{}\") }}", "x".repeat(MAX_TOKENS * 100));
        assert_eq!(error_message(&string), None, "a string is one token");
    }

    /// Parses and drops the deepest accepted text on half of the stack of a gateway thread.
    #[test]
    fn the_deepest_accepted_text_does_not_overflow_the_stack() -> anyhow::Result<()> {
        let nested = |outer: &str, open: &str, inner: &str, close: &str| {
            let depth = MAX_NESTING - outer.matches(['{', '(']).count();
            let ends: String = outer
                .chars()
                .rev()
                .filter_map(|open| match open {
                    '{' => Some('}'),
                    '(' => Some(')'),
                    _ => None,
                })
                .collect();
            format!(
                "{outer}{}{inner}{}{ends}",
                open.repeat(depth),
                close.repeat(depth)
            )
        };
        for text in [
            nested("", "{a", "", "}"),
            nested("", "{...", "{a}", "}").replacen("{a}", "a", 1),
            nested("{a(x:", "[", "1", "]"),
            nested("{a(x:", "{b:", "1", "}"),
            nested("query(", "", "$a:", "").replace(
                "$a:",
                &format!(
                    "$a:{}Int{}",
                    "[".repeat(MAX_NESTING - 1),
                    "]".repeat(MAX_NESTING - 1)
                ),
            ) + "{a}",
        ] {
            assert_eq!(error_message(&text), None, "{text}");
            let parsed = std::thread::Builder::new()
                .stack_size(1024 * 1024)
                .spawn(move || parse_query(&text).map(|document| format!("{document:?}").len()))?
                .join();
            anyhow::ensure!(matches!(parsed, Ok(Ok(_))), "{parsed:?}");
        }
        Ok(())
    }
}
