//! Messages on the gateway's reply queue, from any sender.

use anyhow::Context as _;
use lapin::{BasicProperties, options::BasicPublishOptions};
use nix::sys::signal::Signal;
use proto::amqp::envelope::REPLY_QUEUES;
use serde_json::{Value, json};
use tests::{
    api::{SPACE, sample},
    eventually,
    publisher::Publisher,
    stack::Stack,
};

/// Writes to a queue. Everybody may do this who may write to the default exchange.
async fn write(publisher: &Publisher, queue: &str, kind: &str, body: &[u8]) -> anyhow::Result<()> {
    let properties = BasicProperties::default().with_type(kind.into());
    let options = BasicPublishOptions::default();
    let written =
        publisher
            .channel
            .basic_publish("".into(), queue.into(), options, body, properties);
    written.await?.await?;
    Ok(())
}

async fn reply_queue(stack: &Stack) -> anyhow::Result<String> {
    eventually("the gateway's reply queue", async || {
        let queues = stack.broker(&format!("queues/{}", stack.vhost)).await?;
        let names = queues.as_array().into_iter().flatten();
        let name = names
            .filter_map(|queue| queue["name"].as_str())
            .find(|name| name.starts_with(REPLY_QUEUES) && !name.contains("changes"));
        Ok(name.map(ToOwned::to_owned))
    })
    .await
}

#[tokio::test]
async fn forged_replies_are_ignored() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let gateway = stack.gateway.as_ref().context("no gateway")?;
    let publisher = stack.publisher().await?;
    let queue = reply_queue(&stack).await?;
    stack.workers[0].signal(Signal::SIGSTOP)?;
    let api = stack.api(SPACE)?.with("idempotency-key", "one");
    let first = api.clone();
    let saving = tokio::spawn(async move { first.save(&sample()).await });
    eventually("the save to wait for its reply", async || {
        let waiting = "connector_details_waiting_requests{service=\"gateway\"}";
        Ok((gateway.metric(waiting).await? >= 1.0).then_some(()))
    })
    .await?;

    // Correlation ids are small numbers, so an attacker can guess them, but not the id of a command.
    let forged = |number: u32| {
        let reply = json!({ "commandId": "forged", "outcome": "deleted", "record": null });
        json!({ "correlationId": number.to_string(), "reply": reply })
    };
    let forged = Value::from((0..100).map(forged).collect::<Vec<_>>());
    let packed = "SaveConnectorDetailsReplies.v1";
    write(&publisher, &queue, packed, forged.to_string().as_bytes()).await?;
    write(&publisher, &queue, packed, b"{\"no\": \"list").await?;
    let large = vec![b' '; 5 * 1024 * 1024];
    write(&publisher, &queue, packed, &large).await?;
    eventually("the forged replies to be ignored", async || {
        let metrics = gateway.metrics().await?;
        let is_counted = |reason: &&str| {
            let name = "connector_details_replies_ignored_total";
            let line = format!("{name}{{service=\"gateway\",reason=\"{reason}\"}} 1");
            metrics.lines().any(|found| found == line)
        };
        let reasons = ["another command", "unreadable", "too large"];
        Ok(reasons.iter().all(is_counted).then_some(()))
    })
    .await?;
    stack.workers[0].signal(Signal::SIGCONT)?;

    // Only the worker's reply counts. On a slow machine it may come after the gateway's deadline; a repeat gets
    // the same outcome.
    let mut answer = saving.await??;
    if answer.code() == "SAVE_PENDING" {
        answer = api.save(&sample()).await?;
    }
    assert_eq!(answer.record()?["revision"], 1);
    Ok(())
}
