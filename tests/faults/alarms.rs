//! Memory and disk alarms of the broker.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use dev::process::status_kib;
use serde_json::json;
use tests::{
    api::sample, eventually, fault_stack::FaultStack, load::DEADLINE, publisher::Publisher,
    report::Report,
};

use crate::{command, seconds};

/// The alarms, with the arguments of rabbitmqctl that raise and clear them.
const ALARMS: [(&str, [[&str; 2]; 2]); 2] = [
    (
        "memory alarm",
        [
            ["set_vm_memory_high_watermark", "0.000001"],
            ["set_vm_memory_high_watermark", "0.4"],
        ],
    ),
    (
        "disk alarm",
        [
            ["set_disk_free_limit", "1000000GB"],
            ["set_disk_free_limit", "50MB"],
        ],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_alarm_is_reported_to_clients_in_time() -> anyhow::Result<()> {
    let stack = FaultStack::start(1, 1).await?;
    let api = stack.api()?;
    api.save(&sample()).await?.record()?;

    for (alarm, [raise, clear]) in ALARMS {
        stack.servers.rabbitmqctl(&raise).await?;
        let mut report = Report::default();
        let mut answers = Vec::new();
        for _ in 0..4 {
            let started = Instant::now();
            let code = api.save(&sample()).await?.code();
            report.count(Some(&code), started.elapsed());
            answers.push((code, started.elapsed()));
        }
        // The broker blocks the connection at the first publish, so the first answers may be late.
        assert!(report.slowest < DEADLINE);
        assert_eq!(report.unknown + report.refused, 4, "{answers:?}");
        let (code, took) = &answers[3];
        assert_eq!(code, "SERVICE_UNAVAILABLE");
        assert!(*took < Duration::from_secs(1), "{took:?}");
        stack.servers.rabbitmqctl(&clear).await?;
        let cleared = Instant::now();
        eventually("saves to be taken again", async || {
            Ok(api.save(&sample()).await?.record().ok())
        })
        .await?;
        report.recovery = cleared.elapsed();
        report.check(alarm)?;
    }
    stack.stop().await;
    Ok(())
}

/// More replies than the worker buffers, so that it drops some.
const BACKLOG: usize = 6000;

/// Publishes a backlog that asks for replies, and lets the worker drain it.
async fn drained(
    stack: &FaultStack,
    publisher: &Publisher,
    alarm: Option<[&str; 2]>,
) -> anyhow::Result<Duration> {
    let database = stack.database().await?;
    let decided = async || -> anyhow::Result<i64> {
        let count = sqlx::query_scalar("select count(*) from connector_details_ledger");
        Ok(count.fetch_one(&database).await?)
    };
    stack.workers[0].freeze().await?;
    let before = decided().await?;
    let backlog = (0..BACKLOG).map(|number| {
        let body = command(&format!("backlog {number}"), "x").to_string();
        let id = format!("{before}-{number}");
        async move { publisher.publish(body, Publisher::properties(&id)).await }
    });
    futures_util::future::try_join_all(backlog).await?;
    if let Some(raise) = alarm {
        stack.servers.rabbitmqctl(&raise).await?;
    }
    stack.workers[0].thaw().await?;
    let started = Instant::now();
    let all = before + i64::try_from(BACKLOG)?;
    eventually("the backlog to be drained", async || {
        Ok((decided().await? >= all).then_some(()))
    })
    .await?;
    let took = started.elapsed();
    eventually("all to be acknowledged", async || {
        Ok((stack.commands("messages_unacknowledged").await? == 0).then_some(()))
    })
    .await?;
    Ok(took)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long"]
async fn an_alarm_does_not_slow_the_worker() -> anyhow::Result<()> {
    let stack = FaultStack::start(1, 1).await?;
    stack.api()?.save(&sample()).await?.record()?;
    let publisher = stack.publisher().await?;
    // A first run to warm up: statements are prepared and the tables begin to grow.
    drained(&stack, &publisher, None).await?;

    let without = drained(&stack, &publisher, None).await?;
    let (_, [raise, clear]) = ALARMS[0];
    let with = drained(&stack, &publisher, Some(raise)).await?;
    let refused = stack.api()?.save(&sample()).await?.code();
    stack.servers.rabbitmqctl(&clear).await?;

    eprintln!("{BACKLOG} commands: {without:?}, with an alarm {with:?}");
    assert!(
        ["SAVE_UNKNOWN", "SERVICE_UNAVAILABLE"].contains(&refused.as_str()),
        "there was no alarm: {refused}"
    );
    assert!(with < without * 2, "{with:?} instead of {without:?}");
    stack.stop().await;
    Ok(())
}

/// More commands of 64 KiB than the worker prefetches.
const LARGE: usize = 3000;

/// The limit of the worker's memory in MiB.
const ENOUGH: u64 = 256;

/// The peak memory of a process in MiB.
fn peak(pid: u32) -> anyhow::Result<u64> {
    Ok(status_kib(pid, "VmHWM")? / 1024)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long"]
async fn large_commands_under_an_alarm_stay_within_the_memory_limit() -> anyhow::Result<()> {
    let stack = FaultStack::start(1, 1).await?;
    // After a first success the worker opens a session with a larger prefetch.
    stack.api()?.save(&sample()).await?.record()?;
    stack.api()?.save(&sample()).await?.record()?;
    let publisher = stack.publisher().await?.listening("test.events").await?;
    stack.workers[0].freeze().await?;
    let details = json!({ "baseURL": "https://base.url", "padding": "x".repeat(63 * 1024) });
    let details = details.to_string();
    for from in (0..LARGE).step_by(50) {
        let some = (from..from + 50).map(|n| {
            let mut body = command(&format!("large {n}"), "x");
            body["oauthConnectorDetails"] = details.as_str().into();
            let properties = Publisher::properties(&format!("large-{n}"));
            publisher.publish(body.to_string(), properties)
        });
        futures_util::future::try_join_all(some).await?;
    }
    let (_, [raise, clear]) = ALARMS[0];
    stack.servers.rabbitmqctl(&raise).await?;
    stack.workers[0].thaw().await?;

    let database = stack.database().await?;
    let started = Instant::now();
    let saved = async || -> anyhow::Result<i64> {
        let count = sqlx::query_scalar("select count(*) from connector_details");
        Ok(count.fetch_one(&database).await?)
    };
    while saved().await? <= i64::try_from(LARGE)? {
        assert!(
            started.elapsed() < Duration::from_mins(2),
            "they are not saved"
        );
        seconds(0.1).await;
    }
    let took = started.elapsed();
    let pid = stack.workers[0].pid.borrow().context("no worker")?;
    let with_alarm = peak(pid)?;
    stack.servers.rabbitmqctl(&clear).await?;
    let mut events = 0;
    while events < LARGE {
        events += usize::from(publisher.get("test.events").await?.is_some());
        assert!(
            started.elapsed() < Duration::from_mins(4),
            "{events} events"
        );
    }

    let after = peak(pid)?;
    eprintln!(
        "{LARGE} commands of 64 KiB in {took:?}: {with_alarm} MiB, {after} MiB after the alarm"
    );
    assert!(after < ENOUGH, "{after} MiB");
    stack.stop().await;
    Ok(())
}
