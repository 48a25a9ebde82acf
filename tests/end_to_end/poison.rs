//! Commands that make the worker panic or exit.

use std::time::Duration;

use proto::amqp::topology;
use tests::{api::sample_with, eventually, publisher::Publisher, stack::Stack};

/// Publishes 30 commands, of which the eleventh is poison, while no worker runs.
async fn poisoned(stack: &Stack, publisher: &Publisher) -> anyhow::Result<()> {
    for n in 0..30 {
        let id = if n == 10 {
            "poison".to_owned()
        } else {
            format!("save {n}")
        };
        let body = sample_with("processId", id.as_str()).to_string();
        publisher.publish(body, Publisher::properties(&id)).await?;
    }
    let saved: i64 = sqlx::query_scalar("select count(*) from connector_details")
        .fetch_one(&stack.database)
        .await?;
    assert_eq!(saved, 0, "the worker runs already");
    Ok(())
}

async fn only_the_poison_is_parked(stack: &Stack, publisher: &Publisher) -> anyhow::Result<()> {
    let parked = publisher.take(topology::PARKED).await?;
    assert_eq!(parked.body["processId"], "poison");
    assert_eq!(
        parked.header("x-reason").as_deref(),
        Some("INTERNAL_SERVER_ERROR")
    );
    eventually("the neighbours to be saved", async || {
        let saved: i64 = sqlx::query_scalar("select count(*) from connector_details")
            .fetch_one(&stack.database)
            .await?;
        Ok((saved == 29).then_some(()))
    })
    .await?;
    assert!(
        publisher.get(topology::PARKED).await?.is_none(),
        "a neighbour was parked"
    );
    Ok(())
}

#[tokio::test]
async fn a_command_whose_handling_panics_is_parked_alone() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let publisher = stack.publisher().await?;
    poisoned(&stack, &publisher).await?;

    let mut worker = stack.worker_with(vec![("FAILPOINT", "panic:poison".to_owned())])?;

    only_the_poison_is_parked(&stack, &publisher).await?;
    assert!(
        !worker.ends_within(Duration::ZERO).await?,
        "the worker died of it"
    );
    Ok(())
}

#[tokio::test]
async fn a_command_that_kills_the_worker_is_parked_alone() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let publisher = stack.publisher().await?;
    poisoned(&stack, &publisher).await?;

    let mut deaths = 0;
    // The contract's delivery limit is 20, and the first death is in good company.
    for _ in 0..30 {
        let mut worker = stack.worker_with(vec![("FAILPOINT", "abort:poison".to_owned())])?;
        if !worker.ends_within(Duration::from_secs(5)).await? {
            break;
        }
        deaths += 1;
    }
    let _worker = stack.worker_with(vec![("FAILPOINT", "abort:poison".to_owned())])?;

    only_the_poison_is_parked(&stack, &publisher).await?;
    assert_eq!(
        deaths, 21,
        "the limit allows one delivery more than its number"
    );
    Ok(())
}
