//! The limits of the `.parked` and `.unreadable` queues.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures_util::future::try_join_all;
use lapin::options::{BasicGetOptions, BasicPublishOptions};
use proto::amqp::topology;
use runtime::{broker, queue_depth};
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

    // The queue refuses messages a moment after it is full. How many commands are parked until then depends
    // on the machine.
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut asked = 0;
    while metric(worker, "connector_details_not_parked_total").await? < 3 {
        let reply = publisher
            .ask(&bad, Publisher::properties(&format!("bad {asked}")))
            .await?;
        assert_eq!(reply["outcome"], "refused");
        asked += 1;
        assert!(
            Instant::now() < deadline,
            "all {asked} commands were parked"
        );
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

/// Publishes invalid commands, and waits for each hundred until the broker has their copies in `.parked`.
async fn park(publisher: &Publisher, body: &str, numbers: Range<u32>) -> anyhow::Result<()> {
    for first in numbers.step_by(100) {
        let next = first + 100;
        let hundred = (first..next).map(|number| {
            let properties = Publisher::properties(&format!("bad {number}"));
            publisher.publish(body, properties)
        });
        try_join_all(hundred).await?;
        eventually("these commands to be parked", async || {
            let depth = queue_depth::depth(&publisher.channel, topology::PARKED).await?;
            Ok((depth.messages >= next).then_some(()))
        })
        .await?;
    }
    Ok(())
}

#[tokio::test]
async fn commands_parked_beyond_the_limit_keep_only_their_headers() -> anyhow::Result<()> {
    const LIMIT: u32 = topology::PARKED_WITH_BODY;
    const ALL: u32 = LIMIT + 400;
    /// The worker adds its own copies to the depth that it reads once per second. At that moment the sum may
    /// be wrong by the copies that are being published, which are a hundred at most.
    const TOLERANCE: u32 = 200;
    let stack = Stack::start().await?;
    let publisher = stack.publisher().await?;
    let bad = sample_with("envId", "").to_string();

    park(&publisher, &bad, 0..LIMIT).await?;
    let depth = r#"connector_details_queue_messages{service="worker",queue="parked"}"#;
    eventually("the worker to read the depth of the queue", async || {
        let parked = metric(&stack.workers[0], depth).await?;
        Ok((parked >= u64::from(LIMIT)).then_some(()))
    })
    .await?;
    park(&publisher, &bad, LIMIT..ALL).await?;

    let (mut with_body, mut without_body) = (0, 0);
    for _ in 0..ALL {
        let parked = publisher.take(topology::PARKED).await?;
        assert_eq!(parked.header("x-reason").as_deref(), Some("BAD_USER_INPUT"));
        let length = parked.header("x-body-bytes").context("no length")?;
        assert_eq!(length, format!("LongLongInt({})", bad.len()));
        if parked.raw.is_empty() {
            without_body += 1;
        } else {
            with_body += 1;
        }
    }
    let counts = format!(
        "{with_body} copies have a body and {without_body} have none; the limit is {LIMIT}"
    );
    assert!(with_body + TOLERANCE >= LIMIT, "{counts}");
    assert!(with_body <= LIMIT + TOLERANCE, "{counts}");
    Ok(())
}
