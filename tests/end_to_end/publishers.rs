//! The examples for other services, run as a newcomer would.

use std::{path::PathBuf, process::Stdio};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tests::{servers::programs, stack::Stack};
use tokio::{io::AsyncWriteExt as _, process::Command};

fn examples() -> PathBuf {
    dev::paths::repository().join("proto/examples")
}

/// Where the AMQP clients of other languages are installed.
fn clients(language: &str) -> anyhow::Result<PathBuf> {
    let folder = dev::paths::repository()
        .join("target/clients")
        .join(language);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
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

async fn install(mut command: Command) -> anyhow::Result<()> {
    let output = command.output().await?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
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
    let packages = clients("python")?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--target"])
        .arg(&packages)
        .arg("pika==1.3.2");
    install(pip).await?;

    let mut python = Command::new("python3");
    python
        .arg(examples().join("publish.py"))
        .env("PYTHONPATH", &packages);
    let reply = reply(python, &stack).await?;

    assert_saved(&reply, "example-python");
    Ok(())
}

#[tokio::test]
#[ignore = "needs Node and its packages: cargo dev test --all"]
async fn the_example_in_node_saves() -> anyhow::Result<()> {
    let stack = Stack::start().await?;
    let packages = clients("node")?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-save", "--prefix"])
        .arg(&packages)
        .arg("amqplib@0.10.9");
    install(npm).await?;

    // Node looks for packages beside the program.
    let program = packages.join("publish.mjs");
    std::fs::copy(examples().join("publish.mjs"), &program)?;
    let mut node = Command::new("node");
    node.arg(program);
    let reply = reply(node, &stack).await?;

    assert_saved(&reply, "example-node");
    Ok(())
}
