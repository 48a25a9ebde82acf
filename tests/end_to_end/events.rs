//! The events that other services receive about records.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use anyhow::Context as _;
use futures_util::future::try_join_all;
use lapin::{
    options::QueueBindOptions,
    types::{AMQPValue, FieldTable},
};
use proto::amqp::topology;
use serde_json::{Value, json};
use tests::{
    api::{Api, SPACE, key, sample, sample_with},
    eventually,
    processes::counter,
    publisher::{Found, Publisher},
    stack::Stack,
};

const QUEUE: &str = "test.events";
const DELETE: &str = "mutation delete($input: IPackInstanceOAuthConnectorDetailsInput!) {
    deleteIPackInstanceOauthConnectorDetails(input: $input) { id }
}";

fn kind(event: &Found) -> Option<String> {
    event.properties.kind().as_ref().map(ToString::to_string)
}

fn id(event: &Found) -> Option<String> {
    let id = event.properties.message_id().as_ref();
    id.map(ToString::to_string)
}

#[tokio::test]
async fn every_change_publishes_an_event_in_order_without_secrets() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let listener = stack.publisher().await?.listening(QUEUE).await?;
    let gateway = stack.gateway.as_ref().map(|gateway| gateway.url.clone());
    let ann = Api::for_subject(&gateway.unwrap_or_default(), SPACE, "ann")?;
    let mut input = sample_with("clientSecret", "hunter2-hunter2");
    input["oauthConnectorDetails"] = r#"{"authParams":{"a":"hunter2-hunter2"}}"#.into();

    let first = ann.save(&input).await?.record()?;
    let second = ann.save(&sample()).await?.record()?;
    ann.execute(DELETE, json!({ "input": key(&sample()) }))
        .await?;
    // Deleting a missing record publishes no event, and a conflict publishes none either.
    ann.execute(DELETE, json!({ "input": key(&sample()) }))
        .await?;
    let stale = "mutation save($input: SaveIPackInstanceOauthConnectorDetailsInput!) {
        saveIPackInstanceOauthConnectorDetails(input: $input, expectedRevision: 9) { id }
    }";
    ann.execute(stale, json!({ "input": sample() })).await?;
    let third = ann.save(&sample()).await?.record()?;

    let mut received = Vec::new();
    for _ in 0..4 {
        received.push(listener.take(QUEUE).await?);
    }
    let kinds: Vec<_> = received.iter().filter_map(kind).collect();
    let (saved, deleted) = ("ConnectorDetailsSaved.v1", "ConnectorDetailsDeleted.v1");
    assert_eq!(kinds, [saved, saved, deleted, saved]);
    let of = |record: &Value, revision: i64| {
        Some(format!(
            "{}:{revision}",
            record["id"].as_str().unwrap_or_default()
        ))
    };
    let ids: Vec<_> = received.iter().map(id).collect();
    assert_eq!(
        ids,
        [of(&first, 1), of(&first, 2), of(&first, 3), of(&third, 1)]
    );
    assert_eq!(received[0].body["record"], first);
    assert_eq!(received[1].body["record"], second);
    assert_eq!(received[2].body["record"], second);
    assert_eq!(received[2].body["deletedBy"], "ann");
    assert!(received[2].body["deletedAt"].is_string());
    assert!(received[0].header("traceparent").is_some());
    for event in &received {
        assert!(!String::from_utf8_lossy(&event.raw).contains("hunter2"));
    }
    eventually("an empty outbox", async || {
        let waiting: i64 = sqlx::query_scalar("select count(*) from connector_details_outbox")
            .fetch_one(&stack.database)
            .await?;
        Ok((waiting == 0).then_some(()))
    })
    .await?;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(listener.get(QUEUE).await?.is_none());
    Ok(())
}

/// Publishes a save, a deletion or a conditional save of one of seven records.
async fn publish_numbered(publisher: &Publisher, number: usize) -> anyhow::Result<()> {
    let mut body = sample_with("processId", (number % 7).to_string());
    let properties = Publisher::properties(&number.to_string());
    let (routing_key, kind) = match number % 5 {
        0 => {
            body = key(&body);
            (topology::DELETE, "DeleteConnectorDetails.v1")
        }
        1 => {
            body["expectedRevision"] = 0.into();
            (topology::SAVE, "SaveConnectorDetails.v1")
        }
        _ => (topology::SAVE, "SaveConnectorDetails.v1"),
    };
    publisher
        .publish_by(
            routing_key,
            body.to_string(),
            properties.with_type(kind.into()),
        )
        .await
}

/// Checks the events of the records with the same five ids: each has its record's id, its revision,
/// and whether it is a deletion.
fn assert_order(events: &[(Value, i64, bool)]) {
    assert_eq!(events[0].1, 1);
    for pair in events.windows(2) {
        let [(before, last, was_deleted), (record, revision, _)] = pair else {
            continue;
        };
        if before == record {
            assert_eq!((*revision, *was_deleted), (last + 1, false), "{events:?}");
        } else {
            assert_eq!((*revision, *was_deleted), (1, true), "{events:?}");
        }
    }
}

/// Concurrent saves, deletions and conditional saves, in batches that hold all of them. The events
/// of each record must be in the order of its revisions.
#[tokio::test]
async fn events_of_concurrent_saves_and_deletions_are_in_order() -> anyhow::Result<()> {
    const COMMANDS: usize = 1200;
    let mut stack = Stack::bare().await?;
    let listener = stack.publisher().await?.listening(QUEUE).await?;
    for number in 0..COMMANDS {
        if number == COMMANDS / 2 {
            // The first half is a backlog, the second comes while it is worked on.
            stack.start_worker().await?;
        }
        publish_numbered(&listener, number).await?;
    }
    let left = async || -> anyhow::Result<i64> {
        let counts = "select (select count(*) from connector_details_outbox)
            + $1 - (select count(*) from connector_details_ledger)";
        let count = i64::try_from(COMMANDS)?;
        Ok(sqlx::query_scalar(counts)
            .bind(count)
            .fetch_one(&stack.database)
            .await?)
    };
    eventually("everything to be announced", async || {
        Ok((left().await? == 0).then_some(()))
    })
    .await?;

    let mut received: BTreeMap<String, Vec<(Value, i64, bool)>> = BTreeMap::new();
    let mut seen = HashSet::new();
    while let Some(event) = listener.get(QUEUE).await? {
        if !seen.insert(id(&event)) {
            continue;
        }
        let record = &event.body["record"];
        let is_deleted = kind(&event).is_some_and(|kind| kind.contains("Deleted"));
        let revision = record["revision"].as_i64().context("no revision")?;
        let revision = revision + i64::from(is_deleted);
        let of_record = received.entry(record["processId"].to_string()).or_default();
        of_record.push((record["id"].clone(), revision, is_deleted));
    }
    assert_eq!(received.len(), 7);
    for events in received.values() {
        assert_order(events);
    }
    let changes: i64 = sqlx::query_scalar(
        "select count(*) from connector_details_ledger where kind <> 'conflict' and record_id is not null",
    )
    .fetch_one(&stack.database)
    .await?;
    assert_eq!(seen.len(), usize::try_from(changes)?);
    Ok(())
}

/// A queue that is bound while saves go on receives the events of all later saves.
#[tokio::test]
async fn a_queue_bound_during_saves_receives_every_later_event() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let (others, ann) = (stack.api(SPACE)?, stack.api(SPACE)?);
    let saving = async {
        loop {
            let saved = others.save(&sample_with("processId", "others")).await;
            if let Err(error) = saved.and_then(|saved| saved.record()) {
                break error;
            }
        }
    };
    let listening = async {
        eventually("saves without a listener", async || {
            let announced: bool = sqlx::query_scalar(
                "select count(*) > 50 from connector_details_ledger c
                 where not exists (
                     select from connector_details_outbox o where c.command_id = any (o.command_ids)
                 )",
            )
            .fetch_one(&stack.database)
            .await?;
            Ok(announced.then_some(()))
        })
        .await?;
        let listener = stack.publisher().await?.listening(QUEUE).await?;
        let mut missing = HashSet::new();
        for number in 0..50 {
            let process = format!("ann-{number}");
            let saved = ann.save(&sample_with("processId", process.clone())).await?;
            saved.record()?;
            missing.insert(process);
        }
        while !missing.is_empty() {
            let event = listener.take(QUEUE).await?;
            missing.remove(
                event.body["record"]["processId"]
                    .as_str()
                    .unwrap_or_default(),
            );
        }
        anyhow::Ok(())
    };
    tokio::select! {
        error = saving => Err(error),
        listened = listening => listened,
    }
}

#[tokio::test]
async fn a_crash_between_commit_and_publish_loses_no_event() -> anyhow::Result<()> {
    let mut stack = Stack::bare().await?;
    let failpoint = ("FAILPOINT", "abort-announcing:second".to_owned());
    let mut doomed = stack.worker_with(vec![failpoint])?;
    doomed.becomes("ready").await?;
    let mut listener = stack.publisher().await?.listening(QUEUE).await?;

    let first = Publisher::properties("first");
    let answer = listener.ask(sample().to_string(), first).await?;
    assert_eq!(answer["outcome"], "saved");
    // Its reply may die with the worker.
    let second = Publisher::properties("second");
    listener.publish(sample().to_string(), second).await?;
    assert!(doomed.ends_within(Duration::from_secs(10)).await?);
    let waiting: i64 = sqlx::query_scalar("select count(*) from connector_details_outbox")
        .fetch_one(&stack.database)
        .await?;
    assert!(waiting >= 1, "it was committed, and not announced");
    stack.start_worker().await?;

    let mut revisions = Vec::new();
    while revisions.last() != Some(&json!(2)) {
        revisions.push(listener.take(QUEUE).await?.body["record"]["revision"].clone());
    }
    revisions.dedup();
    assert_eq!(revisions, [1, 2]);
    Ok(())
}

/// RabbitMQ refuses a message that one of its queues refuses, and delivers it to the others all the same.
#[tokio::test]
async fn a_full_queue_that_refuses_events_does_not_stop_the_others() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), 1.into());
    arguments.insert(
        "x-overflow".into(),
        AMQPValue::LongString("reject-publish".into()),
    );
    let full = stack.publisher().await?;
    let _full = full.listening_with("test.full", arguments).await?;
    let listener = stack.publisher().await?.listening(QUEUE).await?;
    let api = stack.api(SPACE)?;
    // More than the relay publishes at once.
    let saved: Vec<String> = (0..12).map(|number| format!("p{number}")).collect();
    for process in &saved {
        let input = sample_with("processId", process.clone());
        api.save(&input).await?.record()?;
    }

    let mut received = Vec::new();
    while received.len() < saved.len() {
        let event = listener.take(QUEUE).await?;
        let process = event.body["record"]["processId"].clone();
        if !received.contains(&process) {
            received.push(process);
        }
    }

    assert_eq!(received, saved);
    let worker = &stack.workers[0];
    let refused = counter(worker, "connector_details_events_refused_total").await?;
    assert!(refused >= 1.0, "{refused}");
    Ok(())
}

/// The broker returns the events that no queue takes. That must not disturb those of the other kind.
#[tokio::test]
async fn a_queue_for_one_kind_of_events_gets_all_of_that_kind() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let listener = stack.publisher().await?.listening(QUEUE).await?;
    let deletions = "connector-details.*.v1".into();
    let unbind = (QUEUE.into(), topology::EVENTS.into());
    listener
        .channel
        .queue_unbind(unbind.0, unbind.1, deletions, FieldTable::default())
        .await?;
    listener
        .channel
        .queue_bind(
            QUEUE.into(),
            topology::EVENTS.into(),
            topology::SAVED.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await?;
    let save_and_delete = async |number: usize| {
        let (api, input) = (
            stack.api(SPACE)?,
            sample_with("processId", format!("p{number}")),
        );
        for _ in 0..10 {
            api.save(&input).await?.record()?;
            api.execute(DELETE, json!({ "input": key(&input) })).await?;
        }
        anyhow::Ok(())
    };
    try_join_all((0..8).map(save_and_delete)).await?;

    for _ in 0..80 {
        let event = listener.take(QUEUE).await?;
        assert_eq!(kind(&event).as_deref(), Some("ConnectorDetailsSaved.v1"));
    }
    let log = std::fs::read_to_string(&stack.workers[0].log)?;
    assert!(!log.contains("events can't be published now"), "{log}");
    Ok(())
}
