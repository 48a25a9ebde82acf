//! A client's `tracestate` in messages: its size is limited.

use anyhow::Context as _;
use futures_util::future::try_join_all;
use lapin::{
    options::{QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use proto::amqp::topology;
use tests::{
    api::{SPACE, sample},
    eventually,
    stack::Stack,
};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn a_tracestate_is_passed_on_up_to_512_bytes() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let publisher = stack.publisher().await?;
    let (queue, exclusive) = ("seen", QueueDeclareOptions::default());
    let nothing = FieldTable::default;
    publisher
        .channel
        .queue_declare(queue.into(), exclusive, nothing())
        .await?;
    publisher
        .channel
        .queue_bind(
            queue.into(),
            topology::COMMANDS.into(),
            topology::SAVE.into(),
            QueueBindOptions::default(),
            nothing(),
        )
        .await?;
    let state = |bytes: usize| {
        let whole = (bytes - 64) / 128;
        let mut entries: Vec<_> = (0..whole)
            .map(|n| format!("k{n:03}={}", "v".repeat(122)))
            .collect();
        entries.push(format!("z={}", "v".repeat(bytes - 128 * whole - 2)));
        entries.join(",")
    };
    let api = stack.api(SPACE)?.with("traceparent", TRACEPARENT);

    for (bytes, passed_on) in [(512, true), (513, false), (16 * 1024, false)] {
        let sent = state(bytes);
        let traced = api.with("tracestate", sent.clone());
        traced.save(&sample()).await?.record()?;
        let found = eventually("the command", async || publisher.get(queue).await).await?;

        let state = found.header("tracestate");
        assert_eq!(state, passed_on.then_some(sent), "{bytes} bytes");
        let parent = found.header("traceparent").unwrap_or_default();
        assert_eq!(parent[..35], TRACEPARENT[..35], "the trace goes on");
    }
    let saves = (0..10).map(|_| async { api.save(&sample()).await?.record() });
    try_join_all(saves).await?;
    let gateway = stack.gateway.as_ref().context("no gateway")?;
    let log = std::fs::read_to_string(&gateway.log)?;
    assert!(!log.contains("no connection to the broker"), "{log}");
    Ok(())
}
