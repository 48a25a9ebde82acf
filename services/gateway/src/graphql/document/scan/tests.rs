//! Unit tests of the scan, with the parser beside it.

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
