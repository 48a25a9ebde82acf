//! Workers that are killed, frozen or restarted, and redelivered commands.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;
use nix::sys::signal::Signal;
use sqlx::PgPool;
use tests::{eventually, fault_stack::FaultStack, proxy::Mode, publisher::Publisher};

use crate::{CLIENTS, command, seconds};

#[tokio::test(flavor = "multi_thread")]
async fn workers_killed_repeatedly_lose_no_save() -> anyhow::Result<()> {
    let stack = FaultStack::start(1, 2).await?;
    let mut load = stack.load(CLIENTS).await?;

    let before = stack.logged("redelivered=1")?;
    for round in 0..12_u32 {
        seconds(0.3 + f64::from(round) * 0.05).await;
        let worker = &stack.workers[round as usize % 2];
        let _ = worker.signal(Signal::SIGKILL).await;
    }
    load.recovers().await?;
    let report = load.finish(&stack.database().await?).await?;

    report.check("workers killed 12 times")?;
    let redelivered = stack.logged("redelivered=1")?;
    assert!(redelivered > before, "no command was ever redelivered");
    stack.stop().await;
    Ok(())
}

/// Every change publishes an event in the order of its record's revisions, even if the worker dies
/// between commit and publish.
#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_published_in_order_while_workers_are_killed() -> anyhow::Result<()> {
    const QUEUE: &str = "test.events";
    let stack = FaultStack::start(1, 2).await?;
    let listener = stack.publisher().await?.listening(QUEUE).await?;
    let load = stack.load(CLIENTS).await?;
    for round in 0..8 {
        seconds(0.5).await;
        let _ = stack.workers[round % 2].signal(Signal::SIGKILL).await;
    }
    let database = stack.database().await?;
    let report = load.finish(&database).await?;
    eventually("an empty outbox", async || {
        let waiting: i64 = sqlx::query_scalar("select count(*) from connector_details_outbox")
            .fetch_one(&database)
            .await?;
        Ok((waiting == 0).then_some(()))
    })
    .await?;

    let mut events: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let mut repeated = 0;
    while let Some(event) = listener.get(QUEUE).await? {
        let record = &event.body["record"];
        let id = record["id"].as_str().context("no id")?.to_owned();
        let revision = record["revision"].as_i64().context("no revision")?;
        let revisions = events.entry(id).or_default();
        if revisions.contains(&revision) {
            repeated += 1;
        } else {
            revisions.push(revision);
        }
    }
    let expected: Vec<(String, Vec<i64>)> = sqlx::query_as(
        "select record_id::text, array_agg(revision order by revision)
         from connector_details_ledger group by record_id order by record_id::text",
    )
    .fetch_all(&database)
    .await?;
    assert_eq!(events.into_iter().collect::<Vec<_>>(), expected);
    report.check("workers killed 8 times, others listening")?;
    eprintln!("{repeated} events were published again");
    stack.stop().await;
    Ok(())
}

/// The workers are killed, stopped and frozen in turn, while another one takes over.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "long"]
async fn workers_killed_stopped_and_frozen_lose_no_save() -> anyhow::Result<()> {
    let stack = FaultStack::start(2, 3).await?;
    // Twenty records, saved in sequence by a client each.
    let mut load = stack.load(20).await?;

    for round in 0..9 {
        let worker = &stack.workers[round % 3];
        match round % 4 {
            0 | 2 => worker.signal(Signal::SIGKILL).await?,
            1 => worker.signal(Signal::SIGTERM).await?,
            _ => stack.freeze(worker, Duration::from_secs(16)).await?,
        }
        seconds(1.5).await;
    }
    load.recovers().await?;
    let report = load.finish(&stack.database().await?).await?;

    report.check("workers killed, stopped, frozen in turn")?;
    assert!(stack.logged("told to stop")? >= 1);
    stack.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long"]
async fn a_worker_that_resumes_after_failover_applies_nothing_twice() -> anyhow::Result<()> {
    let stack = FaultStack::start(1, 2).await?;
    let mut load = stack.load(CLIENTS).await?;

    // Freezes both in turn, because one of them is on standby. Each is frozen longer than the
    // broker's heartbeat timeout, so that the broker closes the active one's connection and the
    // other takes over.
    for worker in &stack.workers {
        stack.freeze(worker, Duration::from_secs(25)).await?;
    }
    load.recovers().await?;
    let report = load.finish(&stack.database().await?).await?;

    report.check("workers frozen for 25 s")?;
    assert!(
        report.gap > Duration::from_secs(5),
        "no client noticed: {report:?}"
    );
    stack.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_restarts_cause_no_client_error() -> anyhow::Result<()> {
    let stack = FaultStack::start(1, 2).await?;
    let mut load = stack.load(CLIENTS).await?;

    for round in 0..6 {
        seconds(1.0).await;
        stack.workers[round % 2].signal(Signal::SIGTERM).await?;
    }
    load.recovers().await?;
    let report = load.finish(&stack.database().await?).await?;

    report.check("workers restarted 6 times")?;
    assert!(stack.logged("told to stop")? >= 6);
    assert_eq!(report.refused + report.pending + report.unknown, 0);
    stack.stop().await;
    Ok(())
}

/// The ledger's entries for the commands that [`publish`] sends.
async fn decisions(database: &PgPool) -> anyhow::Result<Vec<(String, String, i64)>> {
    Ok(sqlx::query_as(
        "select command_id, client_id, revision from connector_details_ledger
         where command_id like 'once-%' order by decided_at, revision",
    )
    .fetch_all(database)
    .await?)
}

/// Publishes 20 saves of one record and 20 saves of other records in turn. Their ids begin with
/// `once-`.
async fn publish(publisher: &Publisher) -> anyhow::Result<()> {
    for number in 0..40 {
        let process = if number % 2 == 0 {
            "one".to_owned()
        } else {
            format!("other {number}")
        };
        let body = command(&process, &number.to_string()).to_string();
        let id = format!("once-{number}");
        publisher.publish(body, Publisher::properties(&id)).await?;
    }
    Ok(())
}

/// Checks that every command was applied once, and those of the one record in order.
async fn each_took_effect_once(database: &PgPool) -> anyhow::Result<()> {
    let decided = eventually("all commands to be decided", async || {
        let decided = decisions(database).await?;
        Ok((decided.len() >= 40).then_some(decided))
    })
    .await?;
    anyhow::ensure!(decided.len() == 40, "{decided:?}");
    for (id, value, revision) in decided {
        let number: i64 = value.parse()?;
        let expected = if number % 2 == 0 { number / 2 + 1 } else { 1 };
        anyhow::ensure!(revision == expected, "{id} made revision {revision}");
    }
    Ok(())
}

/// Slows down the statement that saves a certain value, like a slow disk.
const SLOW: [&str; 2] = [
    "create function slow() returns trigger language plpgsql as
        $$ begin perform pg_sleep(3); return new; end $$",
    "create trigger slow before insert or update on connector_details
        for each row when (new.client_id = '22') execute function slow()",
];

/// Kills the worker between two commits of a batch. The batch has one record twenty times, which
/// takes twenty statements, and the twelfth is slow.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_within_a_batch_applies_each_command_once() -> anyhow::Result<()> {
    let stack = FaultStack::start(1, 2).await?;
    let database = stack.database().await?;
    stack.api()?.save(&command("warm", "up")).await?.record()?;
    for statement in SLOW {
        sqlx::query(statement).execute(&database).await?;
    }
    for worker in &stack.workers {
        worker.freeze().await?;
    }
    publish(&stack.publisher().await?).await?;
    let before = stack.logged("redelivered=1")?;
    for worker in &stack.workers {
        worker.thaw().await?;
    }

    eventually("the slow statement", async || {
        let sleeping: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where wait_event = 'PgSleep'",
        )
        .fetch_one(&database)
        .await?;
        Ok((sleeping > 0).then_some(()))
    })
    .await?;
    let decided = decisions(&database).await?.len();
    for worker in &stack.workers {
        worker.signal(Signal::SIGKILL).await?;
    }
    each_took_effect_once(&database).await?;

    assert!((1..40).contains(&decided), "{decided} were decided before");
    assert!(stack.logged("redelivered=1")? > before);
    stack.stop().await;
    Ok(())
}

/// The proxy drops the worker's acknowledgements in three sessions. The broker redelivers all
/// commands that the worker has committed, and the first command each time.
#[tokio::test(flavor = "multi_thread")]
async fn repeated_deliveries_have_one_effect() -> anyhow::Result<()> {
    let (stack, proxies) = FaultStack::proxied(1, 1).await?;
    let broker = proxies.get("worker and broker").context("no proxy")?;
    let database = stack.database().await?;
    stack.api()?.save(&command("warm", "up")).await?.record()?;
    let publisher = stack.publisher().await?;

    let before = stack.logged("redelivered=1")?;
    broker.set(Mode::LoseAcknowledgements);
    publish(&publisher).await?;
    each_took_effect_once(&database).await?;
    for _ in 0..2 {
        let delivered = stack.logged("redelivered=1")?;
        broker.set(Mode::Cut);
        seconds(0.5).await;
        broker.set(Mode::LoseAcknowledgements);
        // With a prefetch of 1 the broker sends nothing more until this message is acknowledged.
        eventually("the first command to come again", async || {
            Ok((stack.logged("redelivered=1")? > delivered).then_some(()))
        })
        .await?;
    }
    broker.set(Mode::Cut);
    seconds(0.5).await;
    broker.set(Mode::Pass);
    eventually("all commands to come again", async || {
        Ok((stack.logged("redelivered=1")? >= before + 42).then_some(()))
    })
    .await?;
    eventually("the queue to be empty", async || {
        Ok((stack.commands("messages").await? == 0).then_some(()))
    })
    .await?;
    each_took_effect_once(&database).await?;
    stack.stop().await;
    Ok(())
}
