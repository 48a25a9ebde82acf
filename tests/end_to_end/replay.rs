//! `worker replay` publishes parked commands again, and does not undo later changes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lapin::{
    BasicProperties,
    options::BasicPublishOptions,
    types::{AMQPValue, FieldTable},
};
use proto::amqp::{parked, topology};
use serde_json::Value;
use tests::{
    api::{key, sample_with},
    eventually,
    publisher::Publisher,
    stack::Stack,
};
use tokio::time::sleep;

const OLDER: &str = "older than the record's last change: --force --id ID sends it all the same";

fn save(record: &str, client_id: &str) -> Value {
    let mut body = sample_with("processId", record);
    body["clientId"] = client_id.into();
    body
}

/// Seconds since 1970, by a publisher's clock that is right.
fn now() -> anyhow::Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}

/// Puts a command into `.parked`, as a worker would have, at this time or at none that is known.
async fn park(
    publisher: &Publisher,
    body: &Value,
    properties: BasicProperties,
    parked_at: Option<u64>,
) -> anyhow::Result<()> {
    let mut headers = FieldTable::default();
    let reason = AMQPValue::LongString("FORBIDDEN".into());
    headers.insert(parked::REASON.into(), reason);
    if let Some(seconds) = parked_at {
        let at = AMQPValue::LongLongInt(i64::try_from(seconds * 1000)?);
        headers.insert(parked::PARKED_AT.into(), at);
    }
    let body = body.to_string();
    let publishing = publisher.channel.basic_publish(
        "".into(),
        topology::PARKED.into(),
        BasicPublishOptions::default(),
        body.as_bytes(),
        properties.with_headers(headers),
    );
    publishing.await?.await?;
    Ok(())
}

/// Runs it with the worker's own rights: what it did, and with which ids, in its order.
async fn replay(stack: &Stack, arguments: &[&str]) -> anyhow::Result<Vec<(String, String)>> {
    let mut command = stack.program("worker", &[&["replay"], arguments].concat())?;
    let output = command
        .env("AMQP_URL", &stack.amqp_url)
        .env("DATABASE_URL", &stack.logins.worker)
        .output()
        .await?;
    anyhow::ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout)?;
    let line = |line: &str| {
        let mut parts = line.split('\t').map(ToOwned::to_owned);
        (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        )
    };
    Ok(text.lines().map(line).collect())
}

fn lines(all: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(done, id): &(&str, &str)| ((*done).to_owned(), (*id).to_owned());
    all.iter().map(owned).collect()
}

async fn client_id(stack: &Stack, record: &str) -> anyhow::Result<Option<String>> {
    let select = "select client_id from connector_details where process_id = $1";
    let query = sqlx::query_scalar(select).bind(record);
    Ok(query.fetch_optional(&stack.database).await?)
}

async fn becomes(stack: &Stack, record: &str, expected: &str) -> anyhow::Result<()> {
    eventually(&format!("{record} to be {expected}"), async || {
        let found = client_id(stack, record).await?;
        Ok((found.as_deref() == Some(expected)).then_some(()))
    })
    .await
}

/// Saves some records, and deletes one of them.
async fn change_records(publisher: &mut Publisher) -> anyhow::Result<()> {
    for record in ["saved", "deleted", "unknown", "repeated"] {
        let id = format!("{record} later");
        let body = save(record, "later").to_string();
        publisher.ask(body, Publisher::properties(&id)).await?;
    }
    let gone = Publisher::properties("deletion").with_type("DeleteConnectorDetails.v1".into());
    let body = key(&save("deleted", "later")).to_string();
    publisher.delete(body, gone).await?;
    Ok(())
}

/// Parks commands that were published and parked before or after the records were changed.
async fn park_commands(publisher: &Publisher, before: u64, after: u64) -> anyhow::Result<()> {
    for (record, id, published, parked_at) in [
        ("saved", "published before", Some(before), Some(after)),
        ("saved", "parked before", None, Some(before)),
        ("deleted", "before its deletion", Some(before), Some(before)),
        ("unknown", "nobody knows when", None, None),
        // Stands in the ledger: to send it changes nothing.
        ("repeated", "repeated later", Some(before), Some(before)),
        ("fresh", "no change since", Some(before), Some(before)),
        ("two", "the first of two", Some(before), Some(before)),
        ("two", "the second of two", Some(before), Some(before)),
        ("saved", "published after", Some(after), Some(after)),
    ] {
        let value = if id == "repeated later" { "later" } else { id };
        let mut properties = Publisher::properties(id);
        if let Some(published) = published {
            properties = properties.with_timestamp(published);
        }
        park(publisher, &save(record, value), properties, parked_at).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_command_that_is_older_than_its_records_last_change_stays_parked() -> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    stack.start_worker().await?;
    let mut publisher = stack.publisher().await?;
    let before = now()?;
    sleep(Duration::from_millis(1100)).await;
    change_records(&mut publisher).await?;
    sleep(Duration::from_millis(1100)).await;
    let after = now()?;
    park_commands(&publisher, before, after).await?;
    let expected = |sent| {
        lines(&[
            (OLDER, "published before"),
            (OLDER, "parked before"),
            (OLDER, "before its deletion"),
            (OLDER, "nobody knows when"),
            (sent, "repeated later"),
            (sent, "no change since"),
            (sent, "the first of two"),
            (sent, "the second of two"),
            (sent, "published after"),
        ])
    };

    let dry = replay(&stack, &["--dry-run"]).await?;
    let wet = replay(&stack, &[]).await?;
    becomes(&stack, "saved", "published after").await?;
    becomes(&stack, "fresh", "no change since").await?;
    becomes(&stack, "two", "the second of two").await?;
    let again = replay(&stack, &["--id", "parked before"]).await?;
    let forced = replay(&stack, &["--id", "parked before", "--force"]).await?;
    becomes(&stack, "saved", "parked before").await?;

    assert_eq!(dry, expected("would be sent"));
    assert_eq!(wet, expected("sent"));
    let others = |done| {
        lines(&[
            ("left", "published before"),
            (done, "parked before"),
            ("left", "before its deletion"),
            ("left", "nobody knows when"),
        ])
    };
    assert_eq!(again, others(OLDER));
    assert_eq!(forced, others("sent"));
    assert_eq!(client_id(&stack, "deleted").await?, None);
    assert_eq!(
        client_id(&stack, "unknown").await?.as_deref(),
        Some("later")
    );
    assert!(replay(&stack, &["--force"]).await.is_err(), "of one alone");
    Ok(())
}

/// RabbitMQ 4 drops a message after twenty deliveries if its queue does not set another delivery limit.
#[tokio::test]
async fn inspecting_parked_commands_changes_nothing() -> anyhow::Result<()> {
    const RUNS: usize = 25;
    let mut stack = Stack::bare().await?;
    let publisher = stack.publisher().await?;
    for id in ["one", "two", "three"] {
        let properties = Publisher::properties(id).with_timestamp(now()?);
        park(&publisher, &save(id, "x"), properties, Some(now()?)).await?;
    }

    let expected = lines(&[
        ("would be sent", "one"),
        ("would be sent", "two"),
        ("would be sent", "three"),
    ]);
    for run in 0..RUNS {
        let listed = replay(&stack, &["--dry-run"]).await?;
        assert_eq!(listed, expected, "run {run}");
    }
    replay(&stack, &[]).await?;

    stack.start_worker().await?;
    for id in ["one", "two", "three"] {
        becomes(&stack, id, "x").await?;
    }
    Ok(())
}
