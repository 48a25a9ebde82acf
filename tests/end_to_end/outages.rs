//! A database that answers and takes no commands, for long: no command may lose its delivery limit for
//! it. Commands are held for a second, in the place of two minutes, so that half a minute is an outage
//! of an hour.

use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::{
    options::BasicConsumeOptions,
    types::{AMQPValue, FieldTable},
};
use proto::amqp::topology;
use sqlx::{AssertSqlSafe, Executor as _};
use tests::{
    api::sample_with,
    eventually,
    publisher::Publisher,
    stack::{Process, Stack},
};
use tokio::time::{sleep, timeout};

const RECORDS: usize = 30;
const COMMANDS: usize = 300;
/// Of the twenty that a command has.
const DELIVERIES: i64 = 2;

async fn execute(stack: &Stack, statements: &[String]) -> anyhow::Result<()> {
    let mut owner = stack.database.acquire().await?;
    for statement in statements {
        owner.execute(AssertSqlSafe(statement.clone())).await?;
    }
    Ok(())
}

/// Ends the worker's connections, so that the next ones have the new settings.
async fn disconnect(stack: &Stack) -> anyhow::Result<()> {
    let end = "select pg_terminate_backend(pid) from pg_stat_activity
               where datname = current_database() and application_name like 'connector-details-%'";
    execute(stack, &[end.to_owned()]).await
}

fn logged(worker: &Process, text: &str) -> anyhow::Result<usize> {
    Ok(std::fs::read_to_string(&worker.log)?.matches(text).count())
}

async fn publish(publisher: &Publisher) -> anyhow::Result<()> {
    for number in 0..COMMANDS {
        let mut body = sample_with("processId", format!("record {}", number % RECORDS));
        body["clientId"] = (number / RECORDS).to_string().into();
        let properties = Publisher::properties(&format!("command {number}"));
        publisher.publish(body.to_string(), properties).await?;
    }
    Ok(())
}

/// How often each command was given back, as the broker counts; all of them must be there to be taken,
/// since the worker takes none.
async fn given_back(stack: &Stack) -> anyhow::Result<Vec<i64>> {
    let other = stack.publisher().await?;
    let mut consumer = other
        .channel
        .basic_consume(
            topology::QUEUE.into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await?;
    let mut counts = Vec::new();
    while counts.len() < COMMANDS {
        let next = timeout(Duration::from_secs(10), consumer.next()).await?;
        let Some(delivery) = next.transpose()? else {
            break;
        };
        let headers = delivery.properties.headers().as_ref();
        let count = headers.and_then(|headers| headers.inner().get("x-delivery-count"));
        counts.push(match count {
            None => 0,
            Some(AMQPValue::LongLongInt(count)) => *count,
            Some(other) => anyhow::bail!("{other:?}"),
        });
    }
    other.connection.close(200, "bye".into()).await?;
    Ok(counts)
}

/// Every command took effect once, and the last of each record is there.
async fn all_are_decided(stack: &Stack) -> anyhow::Result<()> {
    eventually("all commands to be decided", async || {
        let count =
            "select count(*) from connector_details_ledger where command_id like 'command %'";
        let decided: i64 = sqlx::query_scalar(count).fetch_one(&stack.database).await?;
        Ok((usize::try_from(decided)? == COMMANDS).then_some(()))
    })
    .await?;
    let last: Vec<(String, i64)> = sqlx::query_as(
        "select distinct client_id, revision from connector_details where process_id like 'record %'",
    )
    .fetch_all(&stack.database)
    .await?;
    let each = COMMANDS / RECORDS;
    anyhow::ensure!(
        last == [((each - 1).to_string(), i64::try_from(each)?)],
        "{last:?}"
    );
    Ok(())
}

async fn outage(begin: &[&str], end: &[&str], is_noticed: bool) -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let statements = |all: &[&str]| -> Vec<String> {
        let named = all
            .iter()
            .map(|text| text.replace("DATABASE", &stack.vhost));
        named.collect()
    };
    let worker = stack.worker_with(vec![("FAILPOINT", "hold:1".to_owned())])?;
    worker.becomes("ready").await?;
    let mut publisher = stack.publisher().await?;
    let first = sample_with("processId", "first").to_string();
    publisher.ask(first, Publisher::properties("first")).await?;

    execute(&stack, &statements(begin)).await?;
    disconnect(&stack).await?;
    publish(&publisher).await?;
    eventually("the outage to be felt", async || {
        Ok((logged(&worker, "commands go back to the broker")? > 0).then_some(()))
    })
    .await?;
    sleep(Duration::from_secs(25)).await;
    if is_noticed {
        let (status, health) = worker.health().await?;
        assert_eq!((status, health["database"].as_str()), (503, Some("down")));
    }
    assert!(logged(&worker, "the database still takes no commands")? > 3);
    let given_back = given_back(&stack).await?;
    assert_eq!(given_back.len(), COMMANDS, "nothing was dropped or parked");
    let most = given_back.into_iter().max();
    assert!(most <= Some(DELIVERIES), "{most:?} deliveries were lost");
    execute(&stack, &statements(end)).await?;

    all_are_decided(&stack).await?;
    worker.becomes("ready").await?;
    assert!(publisher.get(topology::PARKED).await?.is_none());
    eventually("a heartbeat that tells of a decision", async || {
        let active = "select true from connector_details_heartbeat
                      where decided_at > now() - interval '1 minute' and pid > 0";
        let found: Option<bool> = sqlx::query_scalar(active)
            .fetch_optional(&stack.database)
            .await?;
        Ok(found)
    })
    .await?;
    assert!(worker.stop().await?);
    Ok(())
}

#[tokio::test]
async fn a_long_read_only_database_causes_few_redeliveries() -> anyhow::Result<()> {
    outage(
        &["alter database DATABASE set default_transaction_read_only = on"],
        &[
            "set default_transaction_read_only = off",
            "alter database DATABASE reset default_transaction_read_only",
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and application_name like 'connector-details-%'",
        ],
        true,
    )
    .await
}

/// As where the disk of one table is full: a heartbeat can be written, and no decision.
#[tokio::test]
async fn a_long_ledger_outage_causes_few_redeliveries() -> anyhow::Result<()> {
    outage(
        &["revoke insert on connector_details_ledger from connector_details_worker"],
        &["grant insert on connector_details_ledger to connector_details_worker"],
        false,
    )
    .await
}

/// The standby gets the first command as soon as the active worker gives the commands back. If it gave that one
/// back, too, it would come behind the others for its record.
#[tokio::test]
async fn a_standby_that_takes_over_during_an_outage_keeps_the_order() -> anyhow::Result<()> {
    let stack = Stack::bare().await?;
    let hold = || vec![("FAILPOINT", "hold:1".to_owned())];
    let active = stack.worker_with(hold())?;
    active.becomes("ready").await?;
    let mut publisher = stack.publisher().await?;
    let first = sample_with("processId", "first").to_string();
    publisher.ask(first, Publisher::properties("first")).await?;
    let standby = stack.worker_with(hold())?;
    standby.becomes("ready").await?;

    let revoke = "revoke insert on connector_details_ledger from connector_details_worker";
    execute(&stack, &[revoke.to_owned()]).await?;
    publish(&publisher).await?;
    eventually("the active worker to give up", async || {
        Ok((logged(&active, "commands go back to the broker")? > 0).then_some(()))
    })
    .await?;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(logged(&standby, "commands go back to the broker")?, 0);
    let grant = "grant insert on connector_details_ledger to connector_details_worker";
    execute(&stack, &[grant.to_owned()]).await?;

    all_are_decided(&stack).await?;
    assert!(publisher.get(topology::PARKED).await?.is_none());
    Ok(())
}
