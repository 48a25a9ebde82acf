//! Documents that cost more than their size suggests.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tests::{api::Api, bystander::Attack, websocket::Socket};
use tokio::time::timeout;

/// In a debug build, on a machine that others use too; a release build takes a hundredth.
const AT_ONCE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(10);

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
    attack.others_were_unaffected().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fragment_bomb_is_refused_by_both_subscription_endpoints() -> anyhow::Result<()> {
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
    attack.others_were_unaffected().await
}

/// The first answer to a document over WebSocket.
async fn subscribe(attack: &Attack, payload: &Value) -> anyhow::Result<String> {
    let mut socket = Socket::introduced(&attack.gateway()?.url, "attacker").await?;
    socket
        .say(&json!({ "id": "1", "type": "subscribe", "payload": payload }))
        .await?;
    Ok(format!("{:?}", socket.hear().await?))
}

/// A document that is nested in a way: what stands in front, opens a level, stands inside of all,
/// closes a level, and stands behind. A string or a comment seems to close most of them at once.
type Nested = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const NESTED: [Nested; 14] = [
    ("{ y(i: ", "[#]\n", "", "]", ") }"),
    ("{ y(i: ", "[#]\r", "", "]", ") }"),
    ("{ y(i: ", "[#]\r\n", "", "]", ") }"),
    ("{ y(i: ", r#"["]" "#, "", "]", ") }"),
    ("{ y(i: ", r#"["\"]" "#, "", "]", ") }"),
    ("{ y(i: ", r#"["""]""" "#, "", "]", ") }"),
    ("{ y(i: ", r#"["""\"""]""" "#, "", "]", ") }"),
    ("{ y(i: ", "{s: #}\n", "1", "}", ") }"),
    ("{ y(i: ", r#"{s: "}" t: "#, "1", "}", ") }"),
    ("{ y(i: ", "{s: [#]}\n", "", "]}", ") }"),
    ("query($a: ", "[#]\n", "Int", "]", ") { y }"),
    ("", "{ a #}\n", "{ a }", "}", ""),
    ("", "{ ... #}\r", "{ a }", "}", ""),
    ("", r#"{ y(i: "})") "#, "{ a }", "}", ""),
];

/// Documents that are nested deeper than a stack allows. Some end at their deepest level.
fn deep() -> Vec<String> {
    let mut documents = Vec::new();
    for (front, opens, inside, closes, behind) in NESTED {
        for levels in [150, 300, 500, 700, 1500] {
            let (opened, closed) = (opens.repeat(levels), closes.repeat(levels));
            documents.push(format!("{front}{opened}{inside}{closed}{behind}"));
        }
        let room = 200_000 / json!(opens).to_string().len();
        documents.push(format!("{front}{}", opens.repeat(room)));
    }
    for front in ["{ y(i: ", "{ y(i: \"", "{ y(i: \"\"\"", "{ y(i: \"]\n"] {
        documents.push(format!("{front}{}", "[".repeat(200_000)));
    }
    documents
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
        let streamed = attacker.stream(body).await.with_context(|| start.clone())?;
        let streamed = streamed.text().await?;
        ensure!(streamed.contains("\"errors\""), "{streamed}: {start}");
    }
    // Brackets in strings and comments don't count.
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
    attack.others_were_unaffected().await
}
