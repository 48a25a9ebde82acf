//! Messages of a careless or hostile publisher: each affects only itself.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use lapin::{
    options::BasicPublishOptions,
    types::{AMQPValue, FieldArray, FieldTable},
};
use proto::amqp::topology;
use runtime::queue_depth;
use tests::{
    api::{SPACE, sample, sample_with},
    eventually,
    publisher::{Found, Publisher},
    raw_amqp::{Confirm, RawAmqp, RawProperties, field, long_string, text_field, unreadable},
    stack::{Process, Stack},
};

/// Within which good commands are applied, whatever stands between them.
const SOON: Duration = Duration::from_secs(10);

async fn saved(stack: &Stack) -> anyhow::Result<i64> {
    let count = sqlx::query_scalar("select count(*) from connector_details");
    Ok(count.fetch_one(&stack.database).await?)
}

/// A metric's value; 0 if it does not exist.
pub async fn metric(worker: &Process, name: &str) -> anyhow::Result<u64> {
    let all = worker.metrics().await?;
    let mut values = all.lines().filter_map(|line| line.strip_prefix(name));
    let value = values.find_map(|rest| rest.rsplit_once(' '));
    Ok(value.map_or(Ok(0), |(_, value)| value.parse())?)
}

/// Checks that no session broke and no message was redelivered for it. The command that ended safe mode may be
/// delivered once more: its acknowledgement and the end of its session overlap.
async fn nothing_broke(worker: &Process) -> anyhow::Result<()> {
    let broken = metric(worker, "connector_details_broken_sessions_total").await?;
    let again = metric(worker, "connector_details_redeliveries_total").await?;
    let log = std::fs::read_to_string(&worker.log)?;
    assert!(broken == 0 && again <= 1, "{broken} {again} {log}");
    Ok(())
}

/// A stack whose worker has left safe mode: what follows is delivered once.
async fn trusted() -> anyhow::Result<(Stack, Publisher)> {
    let stack = Stack::start().await?;
    let mut publisher = stack.publisher().await?;
    let body = sample_with("processId", "the first").to_string();
    publisher
        .ask(body, Publisher::properties("the first"))
        .await?;
    leaves_safe_mode(&stack.workers[0]).await?;
    Ok((stack, publisher))
}

async fn leaves_safe_mode(worker: &Process) -> anyhow::Result<()> {
    eventually("safe mode to end", async || {
        let safe = metric(worker, "connector_details_safe_mode").await?;
        let consuming = metric(worker, "connector_details_consuming").await?;
        Ok((safe == 0 && consuming == 1).then_some(()))
    })
    .await
}

async fn publish_good(publisher: &Publisher, ids: std::ops::Range<u32>) -> anyhow::Result<()> {
    let all = ids.map(|n| async move {
        let id = format!("good {n}");
        let body = sample_with("processId", id.as_str()).to_string();
        publisher.publish(body, Publisher::properties(&id)).await
    });
    try_join_all(all).await.map(drop)
}

/// The reason and the field of what is parked.
fn reason(found: &Found) -> (Option<String>, Option<String>) {
    (found.header("x-reason"), found.header("x-field"))
}

fn refused(field: &str) -> (Option<String>, Option<String>) {
    (Some("BAD_REQUEST".to_owned()), Some(field.to_owned()))
}

#[tokio::test]
async fn unreadable_properties_delay_no_other_command_and_are_parked() -> anyhow::Result<()> {
    let (stack, publisher) = trusted().await?;
    let mut raw = RawAmqp::connect(&stack.uri()?).await?;
    let hostile = unreadable();
    let started = Instant::now();

    for (n, (what, properties)) in (0..).zip(&hostile) {
        publish_good(&publisher, n * 80..(n + 1) * 80).await?;
        let body = sample_with("clientSecret", "hunter2-hunter2").to_string();
        let key = topology::SAVE.as_bytes();
        let properties = properties.encode();
        let confirm = raw.publish(topology::COMMANDS, key, &properties, body.as_bytes());
        assert_eq!(confirm.await?, Confirm::Ack, "{what}");
    }
    let good = 1 + 80 * i64::try_from(hostile.len())?;
    eventually("all good ones to be saved", async || {
        Ok((saved(&stack).await? == good).then_some(()))
    })
    .await?;
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());

    for (what, _) in &hostile {
        let parked = publisher.take(topology::PARKED).await?;
        assert_eq!(reason(&parked), refused("headers"), "{what}");
        assert_eq!(parked.body["clientSecret"], proto::MASK, "{what}");
        assert_eq!(parked.body["processId"], sample()["processId"], "{what}");
    }
    nothing_broke(&stack.workers[0]).await?;
    stack.api(SPACE)?.save(&sample()).await?.record()?;
    Ok(())
}

#[tokio::test]
async fn a_command_with_20_kib_of_headers_is_applied() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let mut raw = RawAmqp::connect(&stack.uri()?).await?;
    let properties = RawProperties {
        headers: Some(text_field(b"x-baggage", 20 * 1024)),
        ..RawProperties::save(b"large")
    };

    let (key, body) = (topology::SAVE.as_bytes(), sample().to_string());
    raw.publish(
        topology::COMMANDS,
        key,
        &properties.encode(),
        body.as_bytes(),
    )
    .await?;

    eventually("it to be saved", async || {
        Ok((saved(&stack).await? == 1).then_some(()))
    })
    .await
}

#[tokio::test]
async fn an_oversized_command_is_refused_and_parked_without_its_body() -> anyhow::Result<()> {
    let (stack, mut publisher) = trusted().await?;

    let reply = publisher.ask(vec![b'x'; 3 * 1024 * 1024], Publisher::properties("large"));
    let reply = reply.await?;
    let parked = publisher.take(topology::PARKED).await?;
    let next = publisher
        .ask(sample().to_string(), Publisher::properties("next"))
        .await?;

    assert_eq!(reply["errors"][0]["field"], "body", "{reply}");
    assert_eq!(reason(&parked), refused("body"));
    assert!(parked.raw.is_empty());
    assert_eq!(next["outcome"], "saved");
    nothing_broke(&stack.workers[0]).await?;
    Ok(())
}

#[tokio::test]
async fn a_hostile_event_or_reply_does_not_disconnect_the_gateway() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let api = stack.api(SPACE)?;
    let mut subscription = tests::sse::Subscription::start(&api).await?;
    let mut raw = RawAmqp::connect(&stack.uri()?).await?;

    for (what, properties) in unreadable() {
        let key = b"connector-details.saved.v1";
        let properties = properties.encode();
        let confirm = raw.publish(topology::EVENTS, key, &properties, b"{}");
        assert_eq!(confirm.await?, Confirm::Ack, "{what}");
    }
    let odd_key = RawProperties::save(b"an event").encode();
    raw.publish(
        topology::EVENTS,
        b"connector-details.caf\xe9.v1",
        &odd_key,
        b"{}",
    )
    .await?;
    let record = api.save(&sample()).await?.record()?;

    let change = subscription.change().await?;
    assert_eq!(change["record"]["id"], record["id"], "{change}");
    Ok(())
}

#[tokio::test]
async fn a_command_that_breaks_every_session_is_parked_alone_within_seconds() -> anyhow::Result<()>
{
    let stack = Stack::bare().await?;
    let publisher = stack.publisher().await?;
    publish_good(&publisher, 0..200).await?;
    let body = sample_with("processId", "poison").to_string();
    publisher
        .publish(body, Publisher::properties("poison"))
        .await?;
    publish_good(&publisher, 200..400).await?;

    let failpoint = vec![("FAILPOINT", "break-session:poison".to_owned())];
    let worker = stack.worker_with(failpoint)?;
    worker.becomes("ready").await?;
    let started = Instant::now();
    eventually("the good ones to be saved", async || {
        Ok((saved(&stack).await? == 400).then_some(()))
    })
    .await?;
    let took = started.elapsed();
    let parked = publisher.take(topology::PARKED).await?;

    assert!(took < SOON, "{took:?}");
    assert_eq!(parked.body["processId"], "poison");
    assert_eq!(
        parked.header("x-reason").as_deref(),
        Some("INTERNAL_SERVER_ERROR")
    );
    let given_up =
        r#"connector_details_dead_letters_total{service="worker",reason="delivery_limit"}"#;
    assert_eq!(metric(&worker, given_up).await?, 1);
    // Those that were on their way when the first session broke, once each.
    let redelivered = metric(&worker, "connector_details_redeliveries_total").await?;
    assert!(redelivered <= 400, "{redelivered} redeliveries");
    publish_good(&publisher, 400..401).await?;
    leaves_safe_mode(&worker).await
}

#[tokio::test]
async fn a_command_that_expires_is_parked_as_expired_and_answered() -> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    let mut publisher = stack.publisher().await?;
    let properties = Publisher::properties("late").with_expiration("50".into());
    publisher.publish(sample().to_string(), properties).await?;
    eventually("it to expire", async || {
        let dead = queue_depth::depth(&publisher.channel, topology::DEAD).await?;
        Ok((dead.messages == 1).then_some(()))
    })
    .await?;

    stack.start_worker().await?;
    let reply = publisher.reply("late").await?;
    let parked = publisher.take(topology::PARKED).await?;

    assert_eq!(reply["outcome"], "refused");
    let golden = tests::golden::one("parked/an-expired-command")?;
    assert_eq!(reply["errors"], golden["answer"]["errors"]);
    assert_eq!(parked.header("x-reason").as_deref(), Some("EXPIRED"));
    assert_eq!(parked.body["processId"], sample()["processId"]);
    assert_eq!(saved(&stack).await?, 0);
    let expired = r#"connector_details_dead_letters_total{service="worker",reason="expired"}"#;
    assert_eq!(metric(&stack.workers[0], expired).await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_publisher_cannot_mark_a_crashing_command_as_expired() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let publisher = stack.publisher().await?;
    let mut forged = FieldTable::default();
    let expired = AMQPValue::LongString("expired".into());
    forged.insert("reason".into(), expired.clone());
    let mut headers = FieldTable::default();
    headers.insert("x-first-death-reason".into(), expired);
    headers.insert(
        "x-death".into(),
        AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::Boolean(true)])),
    );

    let options = BasicPublishOptions::default();
    let properties = Publisher::properties("dead").with_headers(headers);
    let (exchange, key) = (topology::DEAD_LETTERS, topology::DEAD_LETTER);
    let body = sample().to_string();
    let publish = publisher.channel.basic_publish(
        exchange.into(),
        key.into(),
        options,
        body.as_bytes(),
        properties,
    );
    publish.await?.await?;

    let parked = publisher.take(topology::PARKED).await?;
    assert_eq!(
        parked.header("x-reason").as_deref(),
        Some("INTERNAL_SERVER_ERROR")
    );
    Ok(())
}

#[tokio::test]
async fn many_values_in_headers_are_refused() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let publisher = stack.publisher().await?;
    let mut raw = RawAmqp::connect(&stack.uri()?).await?;
    // Void values take one byte each on the wire and a hundred once they are parsed.
    let values = long_string(&[b'V'; 10_000]);
    let properties = RawProperties {
        headers: Some(field(b"x", b'A', &values)),
        ..RawProperties::save(b"many")
    };

    let (key, body) = (topology::SAVE.as_bytes(), sample().to_string());
    raw.publish(
        topology::COMMANDS,
        key,
        &properties.encode(),
        body.as_bytes(),
    )
    .await?;

    assert_eq!(
        reason(&publisher.take(topology::PARKED).await?),
        refused("headers")
    );
    Ok(())
}
