//! Network faults between each kind of service and each server: cut, slow or one-way connections.

use std::time::{Duration, Instant};

use tests::{
    api::sample,
    fault_stack::FaultStack,
    proxy::{Mode, Proxy},
};

use crate::{CLIENTS, seconds};

/// How long each fault lasts.
const FAULT: Duration = Duration::from_secs(3);
/// The time from the end of a fault until saves are as fast as before it.
const RECOVERY: Duration = Duration::from_secs(30);

/// Causes a fault, and returns how often the proxy delayed, dropped or cut something. The clients of the load
/// only save, so this test also reads: otherwise the gateway would not use its connection to the database.
async fn fault(stack: &FaultStack, proxy: &Proxy, mode: Mode) -> anyhow::Result<usize> {
    let api = stack.api()?;
    let before = proxy.effects();
    let started = Instant::now();
    proxy.set(mode);
    while started.elapsed() < FAULT {
        api.find(&sample()).await?;
        seconds(0.2).await;
    }
    let effects = proxy.effects() - before;
    proxy.set(Mode::Pass);
    Ok(effects)
}

async fn survives(modes: &[Mode], faults: &str) -> anyhow::Result<()> {
    let (stack, proxies) = FaultStack::proxied(1, 1).await?;
    let mut load = stack.load(CLIENTS).await?;

    for (between, proxy) in &proxies {
        for mode in modes {
            let effects = fault(&stack, proxy, *mode).await?;
            let recovery = load.recovers().await?;
            eprintln!("{between}, {mode:?}: {effects} effects, recovered after {recovery:?}");
            assert!(effects > 0, "{between}, {mode:?}: no traffic was affected");
            assert!(recovery < RECOVERY);
        }
    }
    let report = load.finish(&stack.database().await?).await?;

    report.check(faults)?;
    assert!(
        report.gap > Duration::from_secs(2),
        "no client noticed: {report:?}"
    );
    stack.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long"]
async fn a_cut_network_loses_no_save() -> anyhow::Result<()> {
    survives(&[Mode::Cut], "network cut, 4 times").await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long"]
async fn a_slow_or_one_way_network_loses_no_save() -> anyhow::Result<()> {
    let modes = [
        Mode::Delay(Duration::from_millis(150)),
        Mode::LoseRequests,
        Mode::LoseAnswers,
    ];
    survives(&modes, "network slow or one-way, 12 times").await
}
