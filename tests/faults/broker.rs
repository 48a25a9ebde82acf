//! A broker that is killed, frozen or full, and queues that were deleted.

use std::time::{Duration, Instant};

use lapin::{BasicProperties, options::QueueDeclareOptions, types::FieldTable};
use nix::sys::signal::Signal;
use proto::amqp::topology;
use tests::{
    api::{Api, sample, sample_with},
    eventually,
    fault_stack::FaultStack,
    publisher::Publisher,
    report::Report,
    sse::Subscription,
};

use crate::{CLIENTS, command, seconds};

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_loses_no_save() -> anyhow::Result<()> {
    let stack = FaultStack::start(1, 2).await?;
    let mut load = stack.load(CLIENTS).await?;

    stack.server("RabbitMQ")?.signal(Signal::SIGKILL).await?;
    seconds(1.0).await;
    stack.servers.wait().await?;
    let recovery = load.recovers().await?;
    let report = load.finish(&stack.database().await?).await?;

    report.check("broker killed")?;
    assert!(report.refused > 0, "{report:?}");
    assert!(recovery < Duration::from_secs(30));
    stack.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_survives_a_broker_restart() -> anyhow::Result<()> {
    let stack = FaultStack::start(1, 1).await?;
    let api = stack.api()?;
    let mut subscription = Subscription::start(&api).await?;
    // RabbitMQ 3.10 loses a quorum queue that was declared less than a second before a kill. This
    // test is not about that.
    seconds(3.0).await;

    stack.server("RabbitMQ")?.signal(Signal::SIGKILL).await?;
    stack.servers.wait().await?;
    loop {
        // The subscription reports that changes may have been missed.
        if subscription.change().await?["kind"] == "MISSED" {
            break;
        }
    }
    stack.ready().await?;
    let saved = api.save(&sample()).await?.record()?;
    loop {
        let change = subscription.change().await?;
        if change["record"]["id"] == saved["id"] {
            assert_eq!(change["kind"], "SAVED");
            break;
        }
    }
    stack.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long"]
async fn a_frozen_broker_loses_no_save() -> anyhow::Result<()> {
    let stack = FaultStack::start(1, 2).await?;
    let mut load = stack.load(CLIENTS).await?;

    stack
        .freeze(stack.server("RabbitMQ")?, Duration::from_secs(40))
        .await?;
    let recovery = load.recovers().await?;
    let report = load.finish(&stack.database().await?).await?;

    report.check("broker frozen for 40 s")?;
    assert!(report.refused > 0, "{report:?}");
    assert!(report.gap > Duration::from_secs(30), "{report:?}");
    assert!(recovery < Duration::from_secs(30));
    stack.stop().await;
    Ok(())
}

/// At least the worker's prefetch.
const AHEAD: usize = 1200;

/// The process, code and time of each of many saves. They are spread over time, because a queue
/// reports to its channels only after a moment that it is full.
async fn spread_saves(api: &Api) -> anyhow::Result<Vec<(String, String, Duration)>> {
    let saves = (0..600_u32).map(|n| {
        let api = api.clone();
        async move {
            seconds(f64::from(n / 100) * 0.4).await;
            let input = sample_with("processId", format!("full {n}"));
            let started = Instant::now();
            let answer = api.save(&input).await?;
            anyhow::Ok((format!("full {n}"), answer.code(), started.elapsed()))
        }
    });
    futures_util::future::try_join_all(saves).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_and_never_applies_later() -> anyhow::Result<()> {
    let stack = FaultStack::start(1, 1).await?;
    let api = stack.api()?;
    // After a first success the worker opens a session with a larger prefetch.
    api.save(&sample()).await?.record()?;
    api.save(&sample()).await?.record()?;
    stack.workers[0].freeze().await?;
    // Commands that the worker has prefetched do not count for the queue's limit. So it gets as
    // many as it can prefetch.
    let publisher = stack.publisher().await?;
    let ahead = (0..AHEAD).map(|n| {
        let body = command(&format!("ahead {n}"), "x").to_string();
        publisher.publish(body, Publisher::properties(&format!("ahead-{n}")))
    });
    futures_util::future::try_join_all(ahead).await?;
    let policy = r#"{"max-length":5}"#;
    let queue = r"^ipack\.connector-details\.v1$";
    stack
        .servers
        .rabbitmqctl(&["set_policy", "full", queue, policy, "--apply-to", "queues"])
        .await?;

    let answers = spread_saves(&api).await?;
    stack.workers[0].thaw().await?;
    stack.servers.rabbitmqctl(&["clear_policy", "full"]).await?;
    stack.ready().await?;
    let cleared = Instant::now();
    eventually("saves to be taken again", async || {
        Ok(api.save(&sample()).await?.record().ok())
    })
    .await?;

    let mut report = Report::default();
    for (_, code, took) in &answers {
        report.count(Some(code), *took);
    }
    let applied: Vec<String> = sqlx::query_scalar(
        "select process_id from connector_details_ledger where process_id like 'full %'",
    )
    .fetch_all(&stack.database().await?)
    .await?;
    for (process, code, _) in answers {
        match (code.as_str(), applied.contains(&process)) {
            ("QUEUE_FULL", true) => report.twice.push(process),
            ("SAVE_PENDING", false) => report.lost.push(process),
            _ => {}
        }
    }
    report.recovery = cleared.elapsed();
    report.check("queue full")?;
    assert!(report.refused > 0 && report.pending > 0, "{report:?}");
    stack.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long"]
async fn a_deleted_queue_or_exchange_is_declared_again() -> anyhow::Result<()> {
    let stack = FaultStack::start(1, 1).await?;
    let mut load = stack.load(CLIENTS).await?;

    let management = stack.servers.management_url.clone().unwrap_or_default();
    for path in [
        format!("exchanges/%2f/{}", topology::COMMANDS),
        format!("queues/%2f/{}", topology::QUEUE),
    ] {
        let deleted = reqwest::Client::new().delete(format!("{management}/api/{path}"));
        deleted.send().await?.error_for_status()?;
        load.recovers().await?;
    }
    let answered = load.finish(&stack.database().await?).await;

    // The messages of the deleted queue are lost. Clients repeat their saves, so no save is lost.
    let report = answered?;
    report.check("exchange deleted, queue deleted")?;
    assert!(
        report.refused + report.unknown + report.pending > 0,
        "no client noticed: {report:?}"
    );
    stack.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_reply_queue_does_not_affect_the_save() -> anyhow::Result<()> {
    let stack = FaultStack::start(1, 1).await?;
    stack.api()?.save(&sample()).await?.record()?;
    let publisher = stack.publisher().await?;
    let other_queue = "somebody.elses";
    publisher
        .channel
        .queue_declare(
            other_queue.into(),
            QueueDeclareOptions::default(),
            FieldTable::default(),
        )
        .await?;

    let with = |id: &str, reply_to: &str| -> BasicProperties {
        Publisher::properties(id).with_reply_to(reply_to.into())
    };
    for (number, reply_to) in [
        "ipack.reply.gone",
        other_queue,
        topology::QUEUE,
        topology::PARKED,
    ]
    .into_iter()
    .enumerate()
    {
        let body = command(&format!("reply {number}"), "x").to_string();
        publisher
            .publish(body, with(&format!("reply-{number}"), reply_to))
            .await?;
    }
    // This save is behind the others in the queue.
    let after = stack.api()?.save(&sample()).await?.record()?;

    assert_eq!(after["revision"], 2);
    assert!(publisher.get(other_queue).await?.is_none());
    assert_eq!(stack.commands("messages").await?, 0);
    stack.stop().await;
    Ok(())
}
