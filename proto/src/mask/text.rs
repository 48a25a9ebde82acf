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

use std::ops::Range;

use super::{is_mask, names::Named, percent, steps};
use crate::{secret::MASK, urls};

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
            b'=' => self.text[at + 1..].starts_with(MASK),
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

/// What separates the parameters of a URL.
fn is_separator(byte: u8) -> bool {
    matches!(byte, b'?' | b'#' | b'&' | b';')
}

/// What ends a word, and a URL in the middle of text.
fn is_edge(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'<' | b'>')
}

/// The kind of a quote that begins, and the byte that ends it.
fn closes(quote: u8) -> Option<(usize, u8)> {
    match quote {
        b'"' => Some((0, b'"')),
        b'\'' => Some((1, b'\'')),
        b'{' => Some((2, b'}')),
        _ => None,
    }
}

/// Whether a name and `=` stand at the start of `rest`.
fn begins_a_pair(rest: &[u8]) -> bool {
    let is_name = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || byte.is_ascii_whitespace()
            || matches!(byte, b'_' | b'-' | b'.' | b'%' | b'[' | b']')
    };
    let name = rest.iter().take_while(|byte| is_name(byte)).count();
    steps::count(name + 1);
    name > 0 && rest.get(name) == Some(&b'=')
}

/// Whether a value is a mask, percent-encoded perhaps.
fn holds_a_mask(value: &str) -> bool {
    const LONGEST: usize = 3 * MASK.len();
    value.len() <= LONGEST && is_mask(&percent::decoded(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of a text when its secrets are replaced, as `<>`.
    fn shown(text: &str) -> String {
        let mut shown = String::new();
        let mut done = 0;
        for place in secrets(text) {
            assert!(done <= place.start && place.start < place.end, "{text}");
            shown += &text[done..place.start];
            shown += "<>";
            done = place.end;
        }
        shown + &text[done..]
    }

    fn all(table: &[(&str, &str)]) {
        for (text, expected) in table {
            assert_eq!(shown(text), *expected, "{text}");
        }
    }

    /// Those of which nothing is a secret.
    fn none(texts: &[&str]) {
        for text in texts {
            assert_eq!(shown(text), *text);
        }
    }

    #[test]
    fn the_password_of_the_user_info_is_found() {
        all(&[
            ("https://user:pw@host/path", "https://user:<>@host/path"),
            (r"https:\\user:pw@host", r"https:\\user:<>@host"),
            ("HTTP:user:pw@host", "HTTP:user:<>@host"),
            ("https:///user:pw@host", "https:///user:<>@host"),
            ("https://user:p@ss:w@host", "https://user:<>@host"),
            ("https://user:p w@host", "https://user:<>@host"),
            ("https://:pw@host", "https://:<>@host"),
            (
                "jdbc:postgresql://user:pw@host/db",
                "jdbc:postgresql://user:<>@host/db",
            ),
            (
                "see amqp://user:pw@host, or me@there",
                "see amqp://user:<>@host, or me@there",
            ),
            (
                "https://host/?next=https://u:pw@host",
                "https://host/?next=https://u:<>@host",
            ),
            ("a://b:c@d/e://f:g@h", "a://b:<>@d/e://f:<>@h"),
            ("x=https://u:pw@host&y=1", "x=https://u:<>@host&y=1"),
        ]);
        none(&[
            "https://host/a:b@c",
            "urn:user:pw@host",
            "https://user:@host",
            "https://me@host",
            "a:b@c",
        ]);
    }

    #[test]
    fn parameters_of_a_url_are_found_by_their_decoded_name() {
        all(&[
            (
                "https://host?client_secret=a&b=c",
                "https://host?client_secret=<>&b=c",
            ),
            (
                "https://host/?x=1&Client%2DSecret=a;api-key=b#id_token=c",
                "https://host/?x=1&Client%2DSecret=<>;api-key=<>#id_token=<>",
            ),
            ("/token?access_token=a", "/token?access_token=<>"),
            (
                "https://host?client secret=a b&c=d",
                "https://host?client secret=<>&c=d",
            ),
            (
                "see https://host?secret=a#top and on",
                "see https://host?secret=<>#top and on",
            ),
            (
                "<a href=\"https://host?secret=a\">",
                "<a href=\"https://host?secret=<>\">",
            ),
            (
                "https://host?a=b=c&secret=d=e",
                "https://host?a=b=c&secret=<>",
            ),
            (
                "https://host?password=\"a&b=c\"&d=e",
                "https://host?password=\"<>\"&d=e",
            ),
            (
                "https://host?to=https://x?apikey=a&b=c",
                "https://host?to=https://x?apikey=<>&b=c",
            ),
        ]);
        none(&[
            "https://host?token_type=bearer&secret=",
            "https://host?secretly=a&access_token_params=b",
            "https://host?x=secret&y=password",
        ]);
    }

    #[test]
    fn parameters_of_a_form_are_found() {
        all(&[
            (
                "grant_type=client_credentials&client_secret=abc",
                "grant_type=client_credentials&client_secret=<>",
            ),
            ("client_secret=abc", "client_secret=<>"),
            ("?client_secret=abc&x=1", "?client_secret=<>&x=1"),
            (
                "x=1&client%5Fsecret=a%26b&assertion=c",
                "x=1&client%5Fsecret=<>&assertion=<>",
            ),
            ("secret=a&b#c?d&x=1", "secret=<>&x=1"),
            ("secret=a&", "secret=<>&"),
        ]);
        none(&[
            "grant_type=password&scope=secret",
            "secret=",
            "secret=&a=b",
            "=secret",
            "a=secret=b",
        ]);
    }

    #[test]
    fn passwords_of_connection_strings_are_found() {
        all(&[
            (
                "Server=x;User Id=sa;Password=abc;",
                "Server=x;User Id=sa;Password=<>;",
            ),
            (
                "Server=x; Client Secret = a b ; App=y",
                "Server=x; Client Secret = <> ; App=y",
            ),
            ("Uid=sa;Pwd=a&b#c?d@e:f;Server=x", "Uid=sa;Pwd=<>;Server=x"),
            ("Password=\"a;b=c\";Server=x", "Password=\"<>\";Server=x"),
            ("Password='it''s' ;Server=x", "Password='<>' ;Server=x"),
            (
                "Driver={SQL Server};PWD={a;b=c};X=y",
                "Driver={SQL Server};PWD={<>};X=y",
            ),
            ("Password=\"a;Server=x", "Password=<>;Server=x"),
            (
                "jdbc:sqlserver://h;user=u;password=p",
                "jdbc:sqlserver://h;user=u;password=<>",
            ),
            (
                "jdbc:sqlserver://h:1433;user=u;password=p@s:s/w;x=y",
                "jdbc:sqlserver://h:1433;user=u;password=<>;x=y",
            ),
            (
                "JDBC:mysql://h/d?user=u&password=p#q",
                "JDBC:mysql://h/d?user=u&password=<>",
            ),
            (
                "jdbc:db2://h:5/d:password=p;user=u;",
                "jdbc:db2://h:5/d:password=<>;user=u;",
            ),
            (
                "Endpoint=sb://x.net/;SharedAccessKeyName=Root;SharedAccessKey=a+b/c=;E=f",
                "Endpoint=sb://x.net/;SharedAccessKeyName=Root;SharedAccessKey=<>;E=f",
            ),
            (
                "host=h port=1 password=it's dbname=d",
                "host=h port=1 password=<> dbname=d",
            ),
            (
                "cache.net:6380,password=abc=,ssl=True",
                "cache.net:6380,password=<>",
            ),
        ]);
        none(&[
            "Server=x;Integrated Security=true",
            "AccountName=a;AccountKey=b",
            "SharedAccessKeyName=Root",
        ]);
    }

    #[test]
    fn a_word_in_text_is_found_and_prose_is_left() {
        all(&[
            (
                "run it: --password=abc --verbose",
                "run it: --password=<> --verbose",
            ),
            (
                "Login required user=\"u\" password=\"a b\";",
                "Login required user=\"u\" password=\"<>\";",
            ),
            ("(secret=a)", "(secret=<>"),
        ]);
        none(&[
            "The secret = patience, and a password is = 5",
            "E = mc2; the secret is kept",
            "tokenType=bearer; accessTokenParams=x",
            "a secret: none",
        ]);
    }

    #[test]
    fn masks_are_left() {
        for mask in [MASK, "[Hidden]", "[[HIDDEN]]", "%5BHidden%5D"] {
            none(&[
                &format!("https://u:{mask}@h?client_secret={mask}&a=b#id_token={mask}"),
                &format!("Server=x;Password={mask} ; Pwd=\"{mask}\""),
                &format!("a={mask}&secret={mask}"),
            ]);
        }
    }
}
