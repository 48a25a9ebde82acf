//! All of it killed at once; and then everything that was left over sent again, twice.

use proto::amqp::topology;
use tests::{eventually, fault_stack::FaultStack, publisher::Publisher};

use crate::{CLIENTS, command, seconds};

/// Waits until the five invalid commands are parked.
async fn until_parked(stack: &FaultStack) -> anyhow::Result<()> {
    eventually("the commands to be parked", async || {
        let output = stack
            .program("worker")
            .args(["replay", "--dry-run"])
            .output()
            .await?;
        let text = String::from_utf8(output.stdout)?;
        Ok((text.matches("would be sent").count() >= 5).then_some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_everything_and_replaying_twice_loses_nothing() -> anyhow::Result<()> {
    let stack = FaultStack::start(1, 2).await?;
    let mut load = stack.load(CLIENTS).await?;
    // Some that are invalid, and will be again.
    let publisher = stack.publisher().await?;
    for number in 0..5 {
        let mut body = command(&format!("parked {number}"), "x");
        body["envId"] = "".into();
        let id = format!("parked-{number}");
        publisher
            .publish(body.to_string(), Publisher::properties(&id))
            .await?;
    }

    stack.kill_all().await;
    seconds(2.0).await;
    stack.ready().await?;
    load.recovers().await?;
    let publisher = stack.publisher().await?;
    until_parked(&stack).await?;
    // A valid dead-lettered command, as if the worker had crashed at each delivery of it.
    publisher
        .channel
        .basic_publish(
            "".into(),
            topology::DEAD.into(),
            lapin::options::BasicPublishOptions::default(),
            command("dead", "x").to_string().as_bytes(),
            Publisher::properties("dead-1"),
        )
        .await?
        .await?;
    for _ in 0..2 {
        let output = stack.program("worker").arg("replay").output().await?;
        assert!(output.status.success(), "{output:?}");
        seconds(1.0).await;
    }
    let decided: Vec<String> = eventually("the dead command to be saved", async || {
        let ids: Vec<String> = sqlx::query_scalar(
            "select command_id from connector_details_ledger
             where process_id = 'dead' or process_id like 'parked %'",
        )
        .fetch_all(&stack.database().await?)
        .await?;
        Ok((!ids.is_empty()).then_some(ids))
    })
    .await?;
    let report = load.finish(&stack.database().await?).await?;

    report.check("everything killed, then replayed twice")?;
    assert_eq!(decided, ["dead-1"]);
    stack.stop().await;
    Ok(())
}
