//! The cost of documents: fixed examples, and a comparison with the fields that a schema executes.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use async_graphql::{Context, EmptySubscription, Object, Request, Schema, ValidationMode};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::graphql::errors::code;

const SAVE: &str = "saveIPackInstanceOauthConnectorDetails(input: $i) { id }";
const RECORD: &str = "id integrationPackInstanceId isTokenGenerated oauthConnectorDetails processId
    envId connectionId catalogGuid clientId revision updatedAt updatedBy";

fn analysis(query: &str, variables: Value) -> Result<Option<Analysis>, ServerError> {
    let variables = Variables::from_json(variables);
    analyse(query, None, &variables, &DocumentArgs::default())
}

fn error_message(query: &str, variables: Value) -> String {
    let error = analysis(query, variables).err();
    error.map_or_else(String::new, |error| {
        format!("{}: {}", code(&error).unwrap_or_default(), error.message)
    })
}

fn charged(query: &str, variables: Value) -> anyhow::Result<Cost> {
    match analysis(query, variables) {
        Ok(Some(analysis)) => Ok(analysis.charge),
        other => anyhow::bail!("{query}: {other:?}"),
    }
}

#[test]
fn saves_are_counted_as_they_are_executed() -> anyhow::Result<()> {
    let on_mutation =
        |name: &str, fields: &str| format!("fragment {name} on Mutation {{ {fields} }} ");
    let saves =
        |fields: &str| format!("mutation($i: I, $yes: Boolean, $no: Boolean) {{ {fields} }} ");
    let variables = json!({ "i": {}, "yes": true, "no": false });
    for (count, query) in [
        (1, saves(SAVE)),
        (2, saves(&SAVE.repeat(2))),
        (
            4,
            saves("...A ...A") + &on_mutation("A", "...B ...B") + &on_mutation("B", SAVE),
        ),
        (
            2,
            saves(&format!("... {{ {SAVE} }} ... on Mutation {{ {SAVE} }}")),
        ),
        (1, saves(&format!("{SAVE} ... on Query {{ {SAVE} }}"))),
        (
            1,
            saves(&format!("{SAVE} ... @skip(if: true) {{ {SAVE} }}")),
        ),
        (
            1,
            saves("...A @include(if: $no) ...A @include(if: $yes)") + &on_mutation("A", SAVE),
        ),
        (1, saves(&format!("__typename {SAVE} ...Nowhere"))),
    ] {
        assert_eq!(
            charged(&query, variables.clone())?,
            Cost::Saves(count),
            "{query}"
        );
    }
    assert_eq!(
        charged("mutation { __typename }", json!({}))?,
        Cost::Reads(1)
    );
    let six = saves("...A ...A") + &on_mutation("A", &SAVE.repeat(3));
    assert!(error_message(&six, variables).contains("more than 5 saves"));
    Ok(())
}

#[test]
fn a_page_costs_its_records() {
    let page = |first: &str| {
        format!(
            "query($n: Int = 50) {{ connectorDetails{first} {{
                edges {{ cursor node {{ {RECORD} }} }} pageInfo {{ hasNextPage endCursor }} }} }}"
        )
    };
    for (cost, query, variables) in [
        (1 + 1 + 100 * 14 + 3, page("(first: 100)"), json!({})),
        (1 + 1 + 7 * 14 + 3, page("(first: $n)"), json!({ "n": 7 })),
        (1 + 1 + 50 * 14 + 3, page("(first: $n)"), json!({})),
        (1 + 1 + 20 * 14 + 3, page(""), json!({})),
        (
            1 + 1 + 100 * 14 + 3,
            page("(first: 1000000000000)"),
            json!({}),
        ),
        (
            2,
            "{ IPackInstanceOAuthConnectorDetails { id } }".to_owned(),
            json!({}),
        ),
        (
            5,
            "{ saveCommand { ...A ...A } } fragment A on SaveCommand { record { id } }".to_owned(),
            json!({}),
        ),
    ] {
        let analysis = analysis(&query, variables).ok().flatten();
        assert_eq!(analysis.map(|it| it.complexity), Some(cost), "{query}");
    }
    let aliases = |count: usize| {
        let page = |n: usize| {
            format!("a{n}: connectorDetails(first: 100) {{ edges {{ node {{ {RECORD} }} }} }}")
        };
        format!("{{ {} }}", (0..count).map(page).collect::<String>())
    };
    assert_eq!(error_message(&aliases(1), json!({})), "");
    for count in [2, 30] {
        let message = error_message(&aliases(count), json!({}));
        assert!(message.contains("too complex"), "{count}: {message}");
    }
}

#[test]
fn many_copies_of_the_details_exceed_the_size_of_an_answer() {
    let find = |fields: usize| {
        let spread = "IPackInstanceOAuthConnectorDetails { ...F } ".repeat(fields);
        let details = (0..20).map(|n| format!("a{n}: oauthConnectorDetails "));
        let details: String = details.collect();
        format!("{{ {spread} }} fragment F on IPackInstanceOauthConnectorDetails {{ {details} }}")
    };
    assert_eq!(error_message(&find(6), json!({})), "");
    assert!(error_message(&find(7), json!({})).contains("larger answer"));
}

#[test]
fn legitimate_documents_use_a_fraction_of_the_limits() -> anyhow::Result<()> {
    let input = "{ integrationPackInstanceId: \"a\", isTokenGenerated: true, clientSecret: \"s\",
        oauthConnectorDetails: \"{}\", processId: \"1\", envId: \"2\", connectionId: \"3\",
        clientId: \"c\", catalogGuid: \"g\" }";
    let save = |n: usize| {
        format!("s{n}: saveIPackInstanceOauthConnectorDetails(input: {input}) {{ {RECORD} }} ")
    };
    let saves = format!("mutation {{ {} }}", (0..5).map(save).collect::<String>());
    let tight = DocumentArgs {
        max_tokens: 500,
        max_selections: 300,
        max_complexity: 300,
        ..DocumentArgs::default()
    };
    for query in [
        saves.as_str(),
        include_str!("testdata/introspection.graphql"),
    ] {
        let analysis = analyse(query, None, &Variables::default(), &tight);
        anyhow::ensure!(matches!(analysis, Ok(Some(_))), "{analysis:?}");
    }
    Ok(())
}

/// A query root that counts the executed fields.
struct Counting;

#[Object(name = "Query")]
impl Counting {
    async fn save(&self, context: &Context<'_>) -> u32 {
        let count: &Arc<AtomicU32> = context.data_unchecked();
        count.fetch_add(1, Ordering::Relaxed)
    }
}

/// A mutation root that counts the executed fields.
struct CountingMutation;

#[Object(name = "Mutation")]
impl CountingMutation {
    async fn save(&self, context: &Context<'_>) -> u32 {
        let count: &Arc<AtomicU32> = context.data_unchecked();
        count.fetch_add(1, Ordering::Relaxed)
    }
}

const CONDITIONS: [&str; 5] = ["true", "false", "$a", "$b", "$c"];

fn directives() -> impl Strategy<Value = String> {
    let one = (any::<bool>(), 0..CONDITIONS.len()).prop_map(|(skip, condition)| {
        let name = if skip { "skip" } else { "include" };
        format!(" @{name}(if: {})", CONDITIONS[condition])
    });
    prop::collection::vec(one, 0..3).prop_map(|directives| directives.concat())
}

/// Random selections. They only spread fragments with a number of at least `fragment`, so that no fragment
/// spreads itself.
fn selections(depth: u32, fragment: usize) -> BoxedStrategy<String> {
    let alias = prop_oneof![Just(""), Just("x: "), Just("y: ")];
    let save = (alias, directives()).prop_map(|(alias, on)| format!("{alias}save{on} "));
    let name = directives().prop_map(|on| format!("__typename{on} "));
    let mut kinds = vec![save.boxed(), name.boxed()];
    if fragment < FRAGMENTS {
        let spread = (fragment..FRAGMENTS, directives());
        kinds.push(spread.prop_map(|(n, on)| format!("...F{n}{on} ")).boxed());
    }
    if depth > 0 {
        let on = prop_oneof![Just(""), Just(" on Mutation"), Just(" on Query")];
        let inline = (on, directives(), selections(depth - 1, fragment));
        let inline = inline.prop_map(|(on, only, inner)| format!("...{on}{only} {{ {inner} }} "));
        kinds.push(inline.boxed());
    }
    let one = prop::strategy::Union::new(kinds);
    prop::collection::vec(one, 1..4)
        .prop_map(|all| all.concat())
        .boxed()
}

const FRAGMENTS: usize = 3;

/// The parts of random texts.
const PARTS: [&str; 22] = [
    "{", "}", "[", "]", "(", ")", "\"", "\"\"\"", "\\\"\"\"", "\\", "\\n", "\\u00e9", "#", "\n",
    "\r", "a", ":", "$", "...", "1.5", " ", "é",
];

fn document() -> impl Strategy<Value = String> {
    let on = || prop_oneof![3 => Just("Mutation"), 1 => Just("Query")];
    let fragment = move |n: usize| {
        (on(), selections(2, n + 1))
            .prop_map(move |(on, inner)| format!("fragment F{n} on {on} {{ {inner} }} "))
    };
    let kind = prop_oneof![3 => Just("mutation"), 1 => Just("query")];
    let operation = (kind, selections(2, 0)).prop_map(|(kind, inner)| {
        format!("{kind} O($a: Boolean = true, $b: Boolean = false, $c: Boolean) {{ {inner} }} ")
    });
    let other = selections(1, 0).prop_map(|inner| format!("mutation P {{ {inner} }} "));
    (
        operation,
        prop::option::of(other),
        fragment(0),
        fragment(1),
        fragment(2),
    )
        .prop_map(|(operation, other, a, b, c)| {
            operation + &other.unwrap_or_default() + &a + &b + &c
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn the_cost_of_a_random_document_is_the_number_of_executed_fields(
        query in document(),
        values in prop::collection::vec(prop::option::of(any::<bool>()), 3),
    ) {
        let variables: serde_json::Map<_, _> = ["a", "b", "c"].into_iter().zip(values)
            .filter_map(|(name, value)| Some((name.to_owned(), value?.into())))
            .collect();
        let variables = Variables::from_json(variables.into());
        let args = DocumentArgs {
            max_saves: u32::MAX,
            max_selections: usize::MAX,
            max_tokens: usize::MAX,
            max_complexity: usize::MAX,
            max_aliases: usize::MAX,
            max_directives: usize::MAX,
            ..DocumentArgs::default()
        };
        let analysis = analyse(&query, Some("O"), &variables, &args);
        let count = Arc::new(AtomicU32::new(0));
        let schema = Schema::build(Counting, CountingMutation, EmptySubscription)
            .validation_mode(ValidationMode::Fast)
            .data(count.clone())
            .finish();
        let request = Request::new(&query).variables(variables).operation_name("O");
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.map_err(|error| TestCaseError::fail(error.to_string()))?;
        runtime.block_on(schema.execute(request));

        let executed = count.load(Ordering::Relaxed);
        let expected = if query.starts_with("mutation") && executed > 0 {
            Cost::Saves(executed)
        } else {
            Cost::Reads(executed.max(1))
        };
        prop_assert_eq!(analysis.ok().flatten().map(|it| it.charge), Some(expected));
    }

    #[test]
    fn the_scan_accepts_every_text_that_the_parser_accepts(
        parts in prop::collection::vec(prop::sample::select(PARTS.to_vec()), 0..40),
    ) {
        let text = format!("{{a(s:{})}}", parts.concat());
        let is_parsed = async_graphql::parser::parse_query(&text).is_ok();
        // The parser reads a block string without an end as two strings, which is not valid GraphQL.
        let is_scanned = scan::scan(&text, usize::MAX).is_ok() || text.contains("\"\"\"");
        prop_assert!(is_scanned || !is_parsed, "{}", text);
        let is_accepted = analysis(&text, json!({})).is_ok();
        prop_assert!(is_parsed || !is_accepted);
    }
}

#[test]
fn documents_that_may_contain_a_secret_are_not_cached() -> anyhow::Result<()> {
    let documents = DocumentCache::default();
    let args = DocumentArgs::default();
    for query in [
        "{ __typename }",
        r#"{ a(secret: "hunter2") }"#,
        r#"{ a(secret: """hunter2""") }"#,
        "{ a # hunter2\n}",
    ] {
        for _ in 0..2 {
            let parsed = documents.parse(query, &args);
            anyhow::ensure!(parsed.is_ok(), "{query}");
        }
    }

    let cached: Vec<String> = documents.lock().keys().cloned().collect();
    assert_eq!(cached, ["{ __typename }"]);
    Ok(())
}

#[test]
fn the_document_cache_does_not_grow_beyond_its_maximum() -> anyhow::Result<()> {
    let documents = DocumentCache::default();
    let args = DocumentArgs::default();
    for number in 0..1000 {
        let parsed = documents.parse(&format!("{{ a{number} }}"), &args);
        anyhow::ensure!(parsed.is_ok());
    }
    let long = format!("{{ {} }}", "a".repeat(DocumentCache::MAX_BYTES));
    anyhow::ensure!(documents.parse(&long, &args).is_ok());

    let cache = documents.lock();
    assert!(cache.len() <= DocumentCache::MAX_DOCUMENTS);
    assert!(!cache.contains_key(&long));
    Ok(())
}
