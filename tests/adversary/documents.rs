//! Documents that want more than they look like.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tests::{
    api::{Api, SECRET, SPACE, sample, sample_with},
    bystander::Attack,
    stack::Stack,
    websocket::{Heard, Socket},
};
use tokio::time::timeout;

/// In a debug build, on a machine that others use too; a release build takes a hundredth.
const AT_ONCE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(10);
const INPUT: &str = "$input: SaveIPackInstanceOauthConnectorDetailsInput!";
const SAVE: &str = "saveIPackInstanceOauthConnectorDetails(input: $input) { id }";

/// Fragments of a type that each spread the next one three times, 30 levels deep: 3^30 selections.
fn bomb(on_type: &str, leaf: &str) -> String {
    let mut fragments = String::new();
    for level in 0..29 {
        let spreads = format!("...F{} ", level + 1).repeat(3);
        let _ = write!(fragments, " fragment F{level} on {on_type} {{ {spreads}}}");
    }
    fragments + &format!(" fragment F29 on {on_type} {{ {leaf} }}")
}

/// The documents, each with the operation that is to be executed.
fn bombs(operation: &str, on_type: &str, leaf: &str) -> Vec<(String, &'static str)> {
    let of = |leaf: &str| bomb(on_type, leaf);
    vec![
        (format!("{operation} A {{ ...F0 }} {}", of(leaf)), "A"),
        (
            format!("{operation} A {{ ...F0 }} {}", of("...F0 ...F7")),
            "A",
        ),
        (
            format!("{operation} A {{ ...F0 }} {}", of("...Nobody")),
            "A",
        ),
        (
            format!(
                "{operation} A {{ {leaf} }} {operation} B {{ ...F0 }} {}",
                of(leaf)
            ),
            "A",
        ),
        (format!("{operation} A {{ {leaf} }} {}", of(leaf)), "A"),
    ]
}

/// Whether a document is refused by the validation, and how fast; the fastest of three attempts,
/// since what is measured is the document and not the machine.
async fn is_refused_at_once(
    what: &str,
    attempt: impl AsyncFn() -> anyhow::Result<String>,
) -> anyhow::Result<()> {
    let mut fastest = PATIENCE;
    for _ in 0..3 {
        let started = Instant::now();
        let answer = timeout(PATIENCE, attempt()).await;
        let answer = answer.with_context(|| format!("no answer: {what}"))??;
        fastest = fastest.min(started.elapsed());
        ensure!(
            answer.contains("GRAPHQL_VALIDATION_FAILED"),
            "{answer}: {what}"
        );
    }
    ensure!(fastest < AT_ONCE, "{fastest:?}: {what}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fragment_bomb_is_refused_at_once() -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let attacker = attack.attacker()?;
    let mut documents = bombs("query", "Query", "__typename");
    documents.extend(bombs("mutation", "Mutation", "__typename"));
    for (document, operation) in documents {
        let body = json!({ "query": document, "operationName": operation }).to_string();
        is_refused_at_once(&document, async || {
            Ok(attacker.post(body.clone()).await?.body.to_string())
        })
        .await?;
    }
    attack.harmed_nobody().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fragment_bomb_is_refused_by_both_endpoints_of_subscriptions() -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let attacker = attack.attacker()?;
    let leaf = "connectorDetailsChanged { kind }";
    for (document, operation) in bombs("subscription", "Subscription", leaf) {
        let body = json!({ "query": document, "operationName": operation });
        is_refused_at_once(&format!("by events: {document}"), async || {
            Ok(attacker.stream(body.clone()).await?.text().await?)
        })
        .await?;
        is_refused_at_once(&format!("by WebSocket: {document}"), async || {
            subscribe(&attack, &body).await
        })
        .await?;
    }
    attack.harmed_nobody().await
}

/// The first answer to a document over WebSocket.
async fn subscribe(attack: &Attack, payload: &Value) -> anyhow::Result<String> {
    let mut socket = Socket::open(&attack.gateway()?.url).await?;
    let token = gateway::token::sign(SECRET, SPACE, "attacker", Duration::from_mins(5))?;
    let init = json!({ "authorization": format!("Bearer {token}"), "space_guid": SPACE });
    socket
        .say(&json!({ "type": "connection_init", "payload": init }))
        .await?;
    let acknowledged = socket.hear().await?;
    let expected = Heard::Message(json!({ "type": "connection_ack" }));
    ensure!(acknowledged == expected, "{acknowledged:?}");
    socket
        .say(&json!({ "id": "1", "type": "subscribe", "payload": payload }))
        .await?;
    Ok(format!("{:?}", socket.hear().await?))
}

/// A mutation whose saves stand two fragments deep.
fn hidden_saves(count: usize) -> String {
    let spreads = "...A ".repeat(count);
    format!(
        "mutation hidden({INPUT}) {{ {spreads}}} \
         fragment A on Mutation {{ ...B }} fragment B on Mutation {{ {SAVE} }}"
    )
}

/// How many commands of the attacked Space the ledger has.
async fn decided(stack: &Stack) -> anyhow::Result<i64> {
    let count = "select count(*) from connector_details_changes where catalog_guid = $1";
    Ok(sqlx::query_scalar(count)
        .bind(SPACE)
        .fetch_one(&stack.database)
        .await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn saves_in_nested_fragments_are_counted_as_they_are_executed() -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let attacker = attack.attacker()?;
    let input = json!({ "input": sample() });

    for count in [6, 8, 200] {
        let answer = attacker
            .execute(&hidden_saves(count), input.clone())
            .await?;
        assert_eq!(answer.code(), "GRAPHQL_VALIDATION_FAILED", "{count} saves");
    }
    let named = attacker.with("idempotency-key", "hidden");
    let two = named.execute(&hidden_saves(2), input.clone()).await?;
    assert_eq!((two.status, two.code().as_str()), (400, "BAD_REQUEST"));
    assert_eq!(decided(&attack.stack).await?, 0, "nothing was saved");

    named
        .execute(&hidden_saves(1), input.clone())
        .await?
        .record()?;
    attacker.execute(&hidden_saves(5), input).await?.record()?;
    assert_eq!(decided(&attack.stack).await?, 6, "one, and then five");
    attack.harmed_nobody().await
}

#[tokio::test(flavor = "multi_thread")]
async fn hidden_saves_are_charged_one_by_one() -> anyhow::Result<()> {
    let limits = [("SAVES_PER_SECOND", "10"), ("SAVES_BURST", "100")];
    let attack = Attack::with(&limits).await?;
    let attacker = attack.attacker()?;
    let started = Instant::now();
    let mut accepted = 0.0;
    loop {
        let input = json!({ "input": sample_with("clientId", format!("client {accepted}")) });
        let answer = attacker.execute(&hidden_saves(5), input).await?;
        if answer.status == 429 {
            break;
        }
        answer.record()?;
        accepted += 5.0;
        let allowed = 100.0 + 10.0 * started.elapsed().as_secs_f64();
        ensure!(accepted <= allowed, "{accepted} saves at once");
    }
    attack.harmed_nobody().await
}

/// Texts that open what they never close, where the parser looks; and what hides it.
fn deep() -> Vec<String> {
    let opened = |by: &str| format!("{{ y(i: {{s: [{by}").repeat(2000);
    vec![
        opened("#]\n"),
        opened("#]})}\r"),
        opened("#]})}\r\n"),
        opened(r#""]})}", "#),
        opened(r#""\"]})}", "#),
        opened(r#""""]})} " """, "#),
        opened(r#""""\"""]})}""", "#),
        format!("{{ y(i: {}", "[".repeat(20_000)),
        format!("{{ y(i: \"{}", "[".repeat(20_000)),
        format!("{{ y(i: \"\"\"{}", "[".repeat(20_000)),
        format!("{{ y(i: \"]\n{}", "[".repeat(20_000)),
        format!("query($a: {}", "[".repeat(20_000)),
        "{ a ".repeat(20_000),
        "{ ... ".repeat(20_000),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn nesting_is_counted_as_the_parser_sees_it() -> anyhow::Result<()> {
    let attack = Attack::begin().await?;
    let attacker = attack.attacker()?;
    for document in deep() {
        let body = json!({ "query": document });
        let start: String = document.chars().take(40).collect();
        let answer = attacker.post(body.to_string()).await;
        let code = answer.with_context(|| start.clone())?.code();
        ensure!(code.starts_with("GRAPHQL_"), "{code}: {start}");
        let streamed = attacker.stream(body).await?.text().await?;
        ensure!(streamed.contains("GRAPHQL_"), "{streamed}: {start}");
    }
    // What only looks deep is no fault.
    let api: Api = attacker;
    for brackets in [
        "[{(".repeat(80),
        r#"\"[[\\{{"#.repeat(30),
        "#{[(".repeat(60),
    ] {
        let filter = format!("connectorDetails(filter: {{ processId: \"{brackets}\" }})");
        let document = format!(
            "{{ {filter} {{ edges {{ cursor }} }} }} # {}",
            "{[(".repeat(200)
        );
        let answer = api.execute(&document, json!({})).await?;
        answer.record().with_context(|| document)?;
    }
    attack.harmed_nobody().await
}
