//! Network faults between each kind of service and each server: cut, slow or one-way connections.

use std::time::Duration;

use tests::{fault_stack::FaultStack, proxy::Mode};

use crate::{CLIENTS, seconds};

/// The time from the end of a fault until saves are as fast as before it.
const RECOVERY: Duration = Duration::from_secs(30);

async fn survives(modes: &[Mode], faults: &str) -> anyhow::Result<()> {
    let (stack, proxies) = FaultStack::proxied(1, 1).await?;
    let mut load = stack.load(CLIENTS).await?;

    for (between, proxy) in &proxies {
        for mode in modes {
            proxy.set(*mode);
            seconds(3.0).await;
            proxy.set(Mode::Pass);
            let recovery = load.recovers().await?;
            eprintln!("{between}, {mode:?}: recovered after {recovery:?}");
            assert!(recovery < RECOVERY);
        }
    }
    let report = load.finish(&stack.database().await?).await?;

    report.check(faults)?;
    assert!(
        report.gap > Duration::from_secs(2),
        "nothing was felt: {report:?}"
    );
    stack.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long"]
async fn cut() -> anyhow::Result<()> {
    survives(&[Mode::Cut], "network cut, 4 times").await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long"]
async fn slow_or_one_way() -> anyhow::Result<()> {
    let modes = [
        Mode::Delay(Duration::from_millis(150)),
        Mode::LoseRequests,
        Mode::LoseAnswers,
    ];
    survives(&modes, "network slow or one-way, 12 times").await
}
