//! The examples for other services, run as a newcomer would.

use std::{path::PathBuf, process::Stdio};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tests::{
    external_clients::{node, python},
    servers::programs,
    stack::Stack,
};
use tokio::{io::AsyncWriteExt as _, process::Command};

fn examples() -> PathBuf {
    dev::paths::repository().join("proto/examples")
}

/// Feeds an example the sample, and returns the reply that it prints.
async fn reply(mut command: Command, stack: &Stack) -> anyhow::Result<Value> {
    let mut child = command
        .env("AMQP_URL", &stack.amqp_url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let sample = std::fs::read(examples().join("save.json"))?;
    child
        .stdin
        .take()
        .context("no input")?
        .write_all(&sample)
        .await?;
    let output = child.wait_with_output().await?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn assert_saved(reply: &Value, app: &str) {
    assert_eq!(reply["outcome"], "saved", "{reply}");
    assert_eq!(reply["record"]["integrationPackInstanceId"], "test-101");
    assert_eq!(reply["record"]["updatedBy"], app);
}

#[tokio::test]
async fn the_example_in_rust_saves() -> anyhow::Result<()> {
    let stack = Stack::start().await?;

    let reply = reply(Command::new(programs()?.join("examples/publish")), &stack).await?;

    assert_saved(&reply, "example-rust");
    Ok(())
}

#[tokio::test]
#[ignore = "needs Python and its packages: cargo dev test --all"]
async fn the_example_in_python_saves() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let python = python(&examples().join("publish.py"), &["pika==1.3.2"]).await?;

    let reply = reply(python, &stack).await?;

    assert_saved(&reply, "example-python");
    Ok(())
}

#[tokio::test]
#[ignore = "needs Node and its packages: cargo dev test --all"]
async fn the_example_in_node_saves() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let node = node(&examples().join("publish.mjs"), &["amqplib@0.10.9"]).await?;

    let reply = reply(node, &stack).await?;

    assert_saved(&reply, "example-node");
    Ok(())
}

#[tokio::test]
#[ignore = "needs Ruby and Bunny: cargo dev test --all"]
async fn the_example_in_ruby_saves() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let mut ruby = Command::new("ruby");
    ruby.arg(examples().join("publish.rb"));

    let reply = reply(ruby, &stack).await?;

    assert_saved(&reply, "example-ruby");
    Ok(())
}
