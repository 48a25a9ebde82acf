//! Unit tests of the limits on the shape of a document.

use std::time::{Duration, Instant};

use async_graphql::parser::parse_query;

use super::*;

fn error_message(query: &str) -> anyhow::Result<Option<String>> {
    let document = parse_query(query)?;
    let error = check(&document, &DocumentArgs::default()).err();
    Ok(error.map(|error| error.message))
}

/// Fragments of which each spreads the next one `spreads` times.
fn bomb(levels: usize, spreads: usize) -> String {
    let level = |n: usize| {
        let spread = format!("...F{} ", n + 1).repeat(spreads);
        format!("fragment F{n} on Query {{ {spread} }} ")
    };
    let levels_text: String = (0..levels).map(level).collect();
    format!("{{ ...F0 }} {levels_text} fragment F{levels} on Query {{ a }}")
}

#[test]
fn fragments_that_spread_fragments_are_rejected_quickly() -> anyhow::Result<()> {
    let started = Instant::now();
    for query in [
        bomb(30, 3),
        bomb(9, 2),
        // The operation does not use the fragments.
        bomb(30, 3).replace("{ ...F0 }", "{ a }"),
        format!(
            "{{ {} }} fragment F on Query {{ {} }}",
            "...F ".repeat(40),
            "a ".repeat(30)
        ),
    ] {
        let message = error_message(&query)?.unwrap_or_default();
        assert!(message.contains("more than 1000 selections"), "{message}");
    }
    assert!(started.elapsed() < Duration::from_millis(500));
    assert_eq!(error_message(&bomb(6, 2))?, None);
    Ok(())
}

#[test]
fn a_fragment_that_spreads_itself_is_rejected() -> anyhow::Result<()> {
    for query in [
        "{ ...A } fragment A on Query { ...A }",
        "{ ...A } fragment A on Query { b { ...B } } fragment B on Query { ... { ...A } }",
        "{ a } fragment A on Query { ...B } fragment B on Query { ...A }",
    ] {
        let message = error_message(query)?.unwrap_or_default();
        assert!(message.contains("spreads itself"), "{query}: {message}");
    }
    assert_eq!(
        error_message("{ ...A ...A ...Nowhere } fragment A on Query { a }")?,
        None
    );
    Ok(())
}

#[test]
fn nesting_counts_through_fragments() -> anyhow::Result<()> {
    let chain = |links: usize| {
        let link = |n: usize| format!("fragment F{n} on Query {{ ...F{} }} ", n + 1);
        let links_text: String = (0..links).map(link).collect();
        format!("{{ ...F0 }} {links_text} fragment F{links} on Query {{ a }}")
    };
    assert_eq!(error_message(&chain(MAX_NESTED_SETS - 1))?, None);
    for query in [
        chain(MAX_NESTED_SETS),
        chain(100),
        format!("{}a{}", "{ ... ".repeat(34), "}".repeat(34)).replace("... a", "a"),
        format!("{}a{}", "{ a ".repeat(16), "}".repeat(16)),
    ] {
        let message = error_message(&query)?.unwrap_or_default();
        assert!(message.contains("nested too deep"), "{query}: {message}");
    }
    Ok(())
}
