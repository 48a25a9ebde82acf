//! The metrics of gateway and worker.

use std::collections::BTreeMap;

use anyhow::Context as _;
use tests::{
    api::{SPACE, sample, sample_with},
    eventually,
    publisher::Publisher,
    stack::Stack,
};

/// The value of each series, by its name and labels as they are written.
fn series(scrape: &str) -> BTreeMap<&str, f64> {
    scrape
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(name, value)| Some((name, value.parse().ok()?)))
        .collect()
}

/// After a save, one that is invalid, and a read.
const OF_GATEWAY: &[(&str, f64)] = &[
    (
        r#"connector_details_requests_total{service="gateway",kind="save",code="OK"}"#,
        1.0,
    ),
    (
        r#"connector_details_requests_total{service="gateway",kind="save",code="BAD_USER_INPUT"}"#,
        1.0,
    ),
    (
        r#"connector_details_requests_total{service="gateway",kind="read",code="OK"}"#,
        1.0,
    ),
    (
        r#"connector_details_publishes_total{service="gateway",outcome="confirmed"}"#,
        1.0,
    ),
    (
        r#"connector_details_reply_duration_seconds_count{service="gateway"}"#,
        1.0,
    ),
    (
        r#"connector_details_waiting_requests{service="gateway"}"#,
        0.0,
    ),
    (
        r#"connector_details_queue_consumers{service="gateway",queue="commands"}"#,
        1.0,
    ),
    (r#"connector_details_database_up{service="gateway"}"#, 1.0),
];

/// After that save, and one, its repeat, its conflict and a refusal of another publisher.
const OF_WORKER: &[(&str, f64)] = &[
    (
        r#"connector_details_commands_total{service="worker",outcome="saved"}"#,
        2.0,
    ),
    (
        r#"connector_details_commands_total{service="worker",outcome="repeated"}"#,
        1.0,
    ),
    (
        r#"connector_details_commands_total{service="worker",outcome="conflict"}"#,
        1.0,
    ),
    (
        r#"connector_details_commands_total{service="worker",outcome="refused"}"#,
        1.0,
    ),
    (
        r#"connector_details_parked_total{service="worker",reason="BAD_USER_INPUT"}"#,
        1.0,
    ),
    (
        r#"connector_details_queue_messages{service="worker",queue="parked"}"#,
        1.0,
    ),
    (
        r#"connector_details_oldest_command_age_seconds{service="worker"}"#,
        0.0,
    ),
];

#[tokio::test]
async fn metrics_count_each_outcome() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let api = stack.api(SPACE)?;
    let mut publisher = stack.publisher().await?;

    api.save(&sample()).await?.record()?;
    api.save(&sample_with("envId", "")).await?;
    api.find(&sample()).await?;
    for id in ["once", "once"] {
        publisher
            .ask(sample().to_string(), Publisher::properties(id))
            .await?;
    }
    let other = sample_with("clientId", "another").to_string();
    publisher.ask(other, Publisher::properties("once")).await?;
    publisher.ask("{}", Publisher::properties("bad")).await?;

    let gateway = stack.gateway.as_ref().context("no gateway")?;
    // The worker reads the queues' depth at an interval.
    eventually("the metrics", async || {
        let of_gateway = has(&gateway.metrics().await?, OF_GATEWAY);
        let of_worker = has(&stack.workers[0].metrics().await?, OF_WORKER);
        Ok((of_gateway && of_worker).then_some(()))
    })
    .await
}

fn has(scrape: &str, expected: &[(&str, f64)]) -> bool {
    let series = series(scrape);
    let is_so = |(name, value): &(&str, f64)| series.get(name) == Some(value);
    expected.iter().all(is_so)
}

#[tokio::test]
async fn the_age_metric_grows_while_a_command_waits_for_the_database() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let publisher = stack.publisher().await?;
    let mut owner = stack.database.begin().await?;
    sqlx::query("lock table connector_details in access exclusive mode")
        .execute(&mut *owner)
        .await?;

    publisher
        .publish(sample().to_string(), Publisher::properties("old"))
        .await?;
    let name = r#"connector_details_oldest_command_age_seconds{service="worker"}"#;
    eventually("an age", async || {
        let scrape = stack.workers[0].metrics().await?;
        Ok(series(&scrape)
            .get(name)
            .filter(|age| **age > 1.0)
            .map(|_| ()))
    })
    .await?;
    owner.rollback().await?;

    eventually("nothing in hand", async || {
        let scrape = stack.workers[0].metrics().await?;
        Ok(series(&scrape)
            .get(name)
            .filter(|age| **age == 0.0)
            .map(|_| ()))
    })
    .await
}
