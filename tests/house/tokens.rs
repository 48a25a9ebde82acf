//! Splits Rust source text into tokens: enough to find paths and function bodies.

/// A word, a string literal, or one sign. Comments are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The word or the sign; `"` for a string literal, `::` for two colons.
    pub text: String,
    /// The line on which the token begins.
    pub line: usize,
    /// The line on which it ends. Only string literals can end on another line.
    pub last_line: usize,
}

pub fn tokens(source: &str) -> Vec<Token> {
    let mut reader = Reader {
        rest: source,
        line: 1,
    };
    let mut tokens = Vec::new();
    loop {
        let line = reader.line;
        match reader.next_token() {
            Some("") => {}
            Some(text) => tokens.push(Token {
                text: text.to_owned(),
                line,
                last_line: reader.line,
            }),
            None => return tokens,
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    /// The next token; empty for white space and comments; `None` at the end.
    fn next_token(&mut self) -> Option<&'a str> {
        let rest = self.rest;
        let first = rest.chars().next()?;
        if first.is_whitespace() {
            self.take(first.len_utf8());
            return Some("");
        }
        if rest.starts_with("//") {
            self.take(rest.find('\n').unwrap_or(rest.len()));
            return Some("");
        }
        if rest.starts_with("/*") {
            self.take(rest.find("*/").map_or(rest.len(), |at| at + 2));
            return Some("");
        }
        if rest.starts_with("::") {
            return Some(self.take(2));
        }
        if let Some(length) = string_length(rest) {
            self.take(length);
            return Some("\"");
        }
        if let Some(length) = character_length(rest) {
            self.take(length);
            return Some("");
        }
        if is_word(first) {
            let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            return Some(self.take(length));
        }
        Some(self.take(first.len_utf8()))
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of a string literal at the beginning of the text.
fn string_length(text: &str) -> Option<usize> {
    let start = text.trim_start_matches(['b', 'c']);
    let prefix = text.len() - start.len();
    if let Some(raw) = start.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let body = raw[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", &raw[..hashes]);
        let length = body.find(&end).map_or(body.len(), |at| at + end.len());
        return Some(prefix + 1 + hashes + 1 + length);
    }
    let body = start.strip_prefix('"')?;
    let mut is_escaped = false;
    for (at, c) in body.char_indices() {
        if c == '"' && !is_escaped {
            return Some(prefix + 1 + at + 1);
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    Some(text.len())
}

/// The length of a character literal at the beginning of the text. A lifetime is not one.
fn character_length(text: &str) -> Option<usize> {
    let body = text.strip_prefix('\'')?;
    let mut characters = body.char_indices();
    let (_, first) = characters.next()?;
    if first == '\\' {
        characters.next();
        let (end, _) = characters.find(|(_, c)| *c == '\'')?;
        return Some(1 + end + 1);
    }
    let (end, second) = characters.next()?;
    (second == '\'').then_some(1 + end + 1)
}

#[test]
fn comments_strings_and_characters_hide_what_they_contain() {
    let source = "a::b // use crate::x;\n/* y */ 'c' '\\'' <'life> \"use \\\" z;\" r#\"\"q\"\"# d";
    let texts: Vec<String> = tokens(source).into_iter().map(|it| it.text).collect();
    assert_eq!(
        texts,
        ["a", "::", "b", "<", "'", "life", ">", "\"", "\"", "d"]
    );
}

#[test]
fn a_string_literal_keeps_its_first_and_last_line() {
    let found = tokens("a\n\"b\nc\" d");
    let lines: Vec<_> = found.iter().map(|it| (it.line, it.last_line)).collect();
    assert_eq!(lines, [(1, 1), (2, 3), (3, 3)]);
}
