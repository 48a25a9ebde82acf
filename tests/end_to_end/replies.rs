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

/// Writes to a queue, as anyone may who may write to the default exchange.
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
async fn a_reply_for_another_command_is_ignored() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let gateway = stack.gateway.as_ref().context("no gateway")?;
    let publisher = stack.publisher().await?;
    let queue = reply_queue(&stack).await?;
    let metric = async |line: &str| -> anyhow::Result<bool> {
        Ok(gateway.metrics().await?.lines().any(|found| found == line))
    };
    stack.workers[0].signal(Signal::SIGSTOP)?;
    let api = stack.api(SPACE)?;
    let saving = tokio::spawn(async move { api.save(&sample()).await });
    eventually("the save to be in work", async || {
        let waits = "connector_details_waiting_requests{service=\"gateway\"} 1";
        Ok(metric(waits).await?.then_some(()))
    })
    .await?;

    // Correlation ids are small numbers; a command's id is not to be guessed.
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
    for reason in ["another command", "unreadable", "too large"] {
        let line = format!(
            "connector_details_replies_ignored_total{{service=\"gateway\",reason=\"{reason}\"}} 1"
        );
        eventually(reason, async || Ok(metric(&line).await?.then_some(()))).await?;
    }
    stack.workers[0].signal(Signal::SIGCONT)?;

    // Only the worker's reply counts.
    let record = saving.await??.record()?;
    assert_eq!(record["revision"], 1);
    Ok(())
}
