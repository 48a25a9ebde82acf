//! The limits of the `.parked` and `.unreadable` queues.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::future::try_join_all;
use lapin::options::{BasicGetOptions, BasicPublishOptions};
use proto::amqp::topology;
use runtime::broker;
use serde_json::json;
use tests::{
    api::{sample, sample_with},
    eventually,
    publisher::Publisher,
    stack::Stack,
};

use super::hostile_messages::metric;

#[tokio::test]
async fn a_command_that_cannot_be_parked_goes_to_the_unreadable_queue() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let mut publisher = stack.publisher().await?;
    let failpoint = vec![("FAILPOINT", "break-everything:poison".to_owned())];
    let worker = stack.worker_with(failpoint)?;
    worker.becomes("ready").await?;
    let body = sample_with("processId", "poison").to_string();

    publisher
        .publish(&body, Publisher::properties("poison"))
        .await?;
    let unreadable = publisher.take(topology::UNREADABLE).await?;
    let next = publisher
        .ask(sample().to_string(), Publisher::properties("next"))
        .await?;

    assert_eq!(unreadable.raw, body.as_bytes());
    assert_eq!(next["outcome"], "saved");
    assert!(publisher.get(topology::PARKED).await?.is_none());
    Ok(())
}

#[tokio::test]
async fn inspecting_parked_commands_never_drops_them() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let publisher = stack.publisher().await?;
    let queues = [topology::PARKED, topology::UNREADABLE];
    for queue in queues {
        let options = BasicPublishOptions::default();
        let properties = Publisher::properties("inspected");
        let publish =
            publisher
                .channel
                .basic_publish("".into(), queue.into(), options, b"{}", properties);
        publish.await?.await?;
    }

    // More often than RabbitMQ 4 would deliver a message of a queue without a limit of its own.
    for _ in 0..25 {
        let connection = broker::connect(&stack.uri()?, "inspection").await?;
        let channel = connection.create_channel().await?;
        for queue in queues {
            eventually("the message", async || {
                Ok(channel
                    .basic_get(queue.into(), BasicGetOptions::default())
                    .await?)
            })
            .await?;
        }
        broker::close(&connection).await;
    }

    for queue in queues {
        publisher.take(queue).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_panic_while_redacting_drops_only_the_body() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let mut publisher = stack.publisher().await?;
    let failpoint = vec![("FAILPOINT", "panic-redacting:bad".to_owned())];
    let worker = stack.worker_with(failpoint)?;
    worker.becomes("ready").await?;
    let body = sample_with("envId", "").to_string();

    let reply = publisher.ask(&body, Publisher::properties("bad")).await?;
    let refused = publisher.take(topology::PARKED).await?;
    let options = BasicPublishOptions::default();
    let (exchange, key) = (topology::DEAD_LETTERS, topology::DEAD_LETTER);
    let properties = Publisher::properties("bad");
    let publish = publisher.channel.basic_publish(
        exchange.into(),
        key.into(),
        options,
        body.as_bytes(),
        properties,
    );
    publish.await?.await?;
    let dead = publisher.take(topology::PARKED).await?;
    let next = publisher
        .ask(sample().to_string(), Publisher::properties("next"))
        .await?;

    assert_eq!(reply["errors"][0]["field"], "envId");
    for parked in [refused, dead] {
        assert!(parked.raw.is_empty());
        assert_eq!(
            parked
                .properties
                .message_id()
                .as_ref()
                .map(lapin::types::ShortString::as_str),
            Some("bad")
        );
    }
    assert_eq!(next["outcome"], "saved");
    let broken = metric(&worker, "connector_details_broken_sessions_total").await?;
    assert_eq!(broken, 0);
    Ok(())
}

/// Sets a policy on a queue of the stack's virtual host.
async fn limit(stack: &Stack, queue: &str, definition: serde_json::Value) -> anyhow::Result<()> {
    let url = format!(
        "{}/api/policies/{}/limit",
        stack.servers.management_url, stack.vhost
    );
    let policy = json!({
        "pattern": format!("^{}$", queue.replace('.', r"\.")),
        "apply-to": "queues",
        "definition": definition,
    });
    let put = reqwest::Client::new()
        .put(url)
        .header("content-type", "application/json");
    put.body(policy.to_string())
        .send()
        .await?
        .error_for_status()?;
    Ok(())
}

#[tokio::test]
async fn a_full_parking_queue_delays_no_other_command() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let mut publisher = stack.publisher().await?;
    limit(&stack, topology::PARKED, json!({ "max-length": 5 })).await?;
    let bad = sample_with("envId", "").to_string();
    let worker = &stack.workers[0];

    // A queue says that it is full a moment after it is.
    let mut refused = 0;
    while metric(worker, "connector_details_not_parked_total").await? < 3 {
        let reply = publisher
            .ask(&bad, Publisher::properties(&format!("bad {refused}")))
            .await?;
        assert_eq!(reply["outcome"], "refused");
        refused += 1;
        assert!(refused < 200, "all of them were parked");
    }
    let started = Instant::now();
    let good = publisher
        .ask(sample().to_string(), Publisher::properties("good"))
        .await?;

    assert_eq!(good["outcome"], "saved");
    assert!(started.elapsed() < Duration::from_secs(2));
    let logged = worker.log_lines()?.iter().any(|line| {
        line.to_string()
            .contains("the queue of parked messages is full")
    });
    assert!(logged);
    Ok(())
}

#[tokio::test]
async fn an_oversized_parked_command_keeps_only_its_headers() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let publisher = stack.publisher().await?;
    let bad = sample_with("envId", "").to_string();
    let count = topology::PARKED_WITH_BODY + 400;
    for from in (0..count).step_by(100) {
        let all = (from..from + 100).map(|n| {
            let properties = Publisher::properties(&format!("bad {n}"));
            publisher.publish(&bad, properties)
        });
        try_join_all(all).await?;
        // The worker reads the queue's depth once per second.
        let name = r#"connector_details_parked_total{service="worker",reason="BAD_USER_INPUT"}"#;
        eventually("these to be parked", async || {
            let parked = metric(&stack.workers[0], name).await?;
            Ok((parked >= u64::from(from + 100)).then_some(()))
        })
        .await?;
    }

    let (mut with, mut without) = (0, 0);
    for _ in 0..count {
        let parked = publisher.take(topology::PARKED).await?;
        assert_eq!(parked.header("x-reason").as_deref(), Some("BAD_USER_INPUT"));
        let length = parked.header("x-body-bytes").context("no length")?;
        assert_eq!(length, format!("LongLongInt({})", bad.len()));
        if parked.raw.is_empty() {
            without += 1;
        } else {
            with += 1;
        }
    }
    assert!(with >= topology::PARKED_WITH_BODY, "{with}");
    assert!(without >= 200, "{without}");
    Ok(())
}
