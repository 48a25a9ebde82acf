//! Clients that hang up.

use std::time::Duration;

use dev::process::status_kib;
use tests::{api::sample_with, eventually, fault_stack::FaultStack};
use tokio::time::timeout;

/// A thousand clients that save and read, and hang up before they are answered.
async fn hang_up(stack: &FaultStack) -> anyhow::Result<()> {
    let api = stack.api()?;
    stack.server("Postgres")?.freeze().await?;
    let clients = (0..1000).map(|n| {
        let api = api.clone();
        async move {
            let input = sample_with("processId", format!("hung up {}", n % 100));
            let _ = timeout(Duration::from_millis(800), api.save(&input)).await;
            let _ = timeout(Duration::from_millis(50), api.find(&input)).await;
        }
    });
    futures_util::future::join_all(clients).await;
    stack.server("Postgres")?.thaw().await?;
    stack.ready().await?;
    eventually("saves to be answered", async || {
        Ok(api
            .save(&sample_with("processId", "after"))
            .await?
            .record()
            .ok())
    })
    .await?;
    eventually("the queue to be empty", async || {
        Ok((stack.commands("messages").await? == 0).then_some(()))
    })
    .await
}

/// Resident memory of the gateway, in KiB, and its open files.
fn size(stack: &FaultStack) -> anyhow::Result<(u64, usize)> {
    let pid = stack.gateways[0].pid.borrow().unwrap_or_default();
    let files = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    Ok((status_kib(pid, "VmRSS")?, files))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long"]
async fn a_thousand_that_hang_up_leave_nothing_behind() -> anyhow::Result<()> {
    let stack = FaultStack::start(1, 1).await?;
    // Twice to warm up: memory that an allocator keeps for the next thousand is no leak.
    hang_up(&stack).await?;
    hang_up(&stack).await?;

    let (memory, files) = size(&stack)?;
    hang_up(&stack).await?;
    hang_up(&stack).await?;
    let (memory_after, files_after) = size(&stack)?;

    eprintln!("{memory} KiB and {files} files; {memory_after} KiB and {files_after} files");
    assert!(memory_after < memory + memory / 5);
    assert!(files_after <= files + 20);
    let open_transactions: i64 = sqlx::query_scalar(
        "select count(*) from pg_stat_activity where state like 'idle in transaction%'",
    )
    .fetch_one(&stack.database().await?)
    .await?;
    assert_eq!(open_transactions, 0);
    stack.stop().await;
    Ok(())
}
