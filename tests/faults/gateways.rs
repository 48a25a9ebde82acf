//! Gateways that are killed and restarted.

use nix::sys::signal::Signal;
use tests::{
    api::{Api, SPACE, sample},
    eventually,
    fault_stack::FaultStack,
};

use crate::{CLIENTS, seconds};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long"]
async fn gateways_killed_repeatedly_lose_no_save() -> anyhow::Result<()> {
    let stack = FaultStack::start(2, 1).await?;
    let mut load = stack.load(CLIENTS).await?;

    for round in 0..8 {
        seconds(0.5).await;
        let _ = stack.gateways[round % 2].signal(Signal::SIGKILL).await;
    }
    load.recovers().await?;
    let report = load.finish(&stack.database().await?).await?;

    report.check("gateways killed 8 times")?;
    assert!(report.unknown > 0, "no request was ever cut off");
    stack.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_killed_between_confirm_and_reply_loses_no_save() -> anyhow::Result<()> {
    let stack = FaultStack::start(2, 1).await?;
    let keyed =
        |url: &str| Ok::<_, anyhow::Error>(Api::new(url, SPACE)?.with("idempotency-key", "one"));
    let (first, second) = (
        keyed(&stack.gateway_urls[0])?,
        keyed(&stack.gateway_urls[1])?,
    );
    stack.api()?.save(&sample()).await?.record()?;

    stack.workers[0].freeze().await?;
    let save = tokio::spawn(async move { first.save(&sample()).await });
    // Half of the reply timeout, so that the command is in the queue before the gateway is killed.
    seconds(2.5).await;
    stack.gateways[0].signal(Signal::SIGKILL).await?;
    let cut_off = save.await?;
    stack.workers[0].thaw().await?;
    // The command gets an outcome without a repeat, so the gateway had sent it.
    let database = stack.database().await?;
    eventually("the command to be decided", async || {
        let count: i64 = sqlx::query_scalar("select count(*) from connector_details_ledger")
            .fetch_one(&database)
            .await?;
        Ok((count == 2).then_some(()))
    })
    .await?;
    let repeat = second.save(&sample()).await?.record()?;

    assert!(cut_off.is_err(), "{cut_off:?}");
    assert_eq!(repeat["revision"], 2);
    let record = second.find(&sample()).await?.record()?;
    assert_eq!(record["revision"], 2);
    stack.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_restarts_cause_no_client_error() -> anyhow::Result<()> {
    let stack = FaultStack::start(2, 1).await?;
    let mut load = stack.load(CLIENTS).await?;
    load.balance();

    for gateway in stack.gateways.iter().cycle().take(3) {
        gateway.signal(Signal::SIGTERM).await?;
        let left = *gateway.pid.borrow();
        eventually("the gateway to leave", async || {
            Ok((*gateway.pid.borrow() != left).then_some(()))
        })
        .await?;
        stack.ready().await?;
        // The balancer has to see it, too.
        seconds(0.5).await;
    }
    load.recovers().await?;
    let report = load.finish(&stack.database().await?).await?;

    report.check("gateways restarted 3 times")?;
    assert!(stack.logged("told to stop")? >= 3);
    assert_eq!(report.refused + report.pending + report.unknown, 0);
    stack.stop().await;
    Ok(())
}
